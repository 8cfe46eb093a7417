"""What Prometheus is told: by its own parser and linter, of each way to send a picture, of all workers together."""

import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from prometheus_client.parser import text_string_to_metric_families

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from app.observability.metrics import REASONS, Metrics
from app.http.problems import REJECTED, TABLE
from app.observability.input_statistics import InputStatistics
from tests.support.pictures import Grey, png
from tests.support.running import ROOT, Server, running
from tests.app.http.routes.test_batch import send
from tests.app.recognition.test_number import page

Digits = list[tuple[int, Grey]]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
SIGNALS = ("confidence", "typicality", "ink_ratio")
SETTLED = 1.0  # seconds: workers bring their counts up to date twice a second
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)


def samples(text: str) -> Samples:
    """Every sample, by its name and labels, as Prometheus's own parser reads them; none is there twice."""
    found = [
        ((sample.name, tuple(sorted(sample.labels.items()))), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def asked(server: Server) -> Samples:
    """What a service tells, on a connection of its own: of several workers, whichever takes it."""
    return samples(httpx.get(f"{server.url}/metrics").raise_for_status().text)


def grown(after: Samples, before: Samples) -> Counter[str]:
    """By how much what has no labels has grown."""
    return Counter(
        {name: value - before.get((name, labels), 0) for (name, labels), value in after.items() if not labels}
    )


def test_each_way_to_send_a_picture_is_watched(server: Server, digits: Digits, seven: Grey) -> None:
    """One, one with a query, several files, tensors, a number on a page: as many as digits were read, and their ink.

    What is blank was not read, and what of a page was no digit in the end is not counted.
    """
    ink = float(seven.mean()) / 255
    images = np.stack([seven] * 4)

    def post(path: str) -> None:
        httpx.post(server.url + path, files={"file": png(seven)}).raise_for_status()

    def tensors() -> None:
        with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
            tensor = triton.InferInput("images", list(images.shape), "UINT8")
            tensor.set_data_from_numpy(images)
            client.infer("digitnet", [tensor])

    blank = png(np.zeros((28, 28), np.uint8))
    ways: list[tuple[int, Callable[[], object]]] = [
        (1, lambda: post("/predict")),
        (1, lambda: post("/predict?preview=true")),
        (3, lambda: send(server, [png(seven), blank, b"no picture", png(seven), png(seven)])),
        (4, tensors),
        (0, lambda: httpx.post(f"{server.url}/predict", files={"file": blank})),
    ]
    for count, way in ways:
        before = asked(server)
        way()
        seen = grown(asked(server), before)
        assert [seen[f"digits_{name}_count"] for name in SIGNALS] == [count] * 3
        assert seen["digits_ink_ratio_sum"] == pytest.approx(count * ink)
        assert seen["digits_confidence_sum"] == pytest.approx(count, abs=0.01)

    before = asked(server)
    number = page([[image for _, image in digits[:10:2]]])
    assert httpx.post(f"{server.url}/read", files={"file": png(number)}).json()["text"] == "01234"
    seen = grown(asked(server), before)
    assert [seen[f"digits_{name}_count"] for name in SIGNALS] == [5] * 3


def test_confidences_fall_into_their_buckets() -> None:
    """One value or several, alone or together, they are in the same ones."""
    one, several = Metrics(), Metrics()
    values = np.array([0.3, 0.5, 0.97, 0.999999, 1.0])
    for value in values:
        one.saw(value, value, value)
    several.saw_all(InputStatistics(values, values, values))
    assert samples(one.text().decode()) == pytest.approx(samples(several.text().decode()))
    told = samples(one.text().decode())
    buckets = {labels[0][1]: value for (name, labels), value in told.items() if name == "digits_confidence_bucket"}
    expected = {"0.5": 2, "0.8": 2, "0.95": 2, "0.99": 3, "0.999": 3, "0.9999": 3, "0.99999": 3, "+Inf": 5}
    assert buckets == expected


def test_the_reference_is_beside_what_is_counted(server: Server, released: ModelFolder) -> None:
    """Its shares are the manifest's, sum to 1, and each bucket is one of the live histogram."""
    told = asked(server)
    shares = {labels: value for (name, labels), value in told.items() if name == "digits_reference_ratio"}
    kept = released.manifest.reference
    assert kept
    for signal in SIGNALS:
        mine = {dict(labels)["bucket"]: value for labels, value in shares.items() if ("signal", signal) in labels}
        live = [dict(labels)["le"] for name, labels in told if name == f"digits_{signal}_bucket"]
        assert sorted(mine) == sorted(live)
        assert list(mine.values()) == [count / kept.digits for count in kept.signals[signal].counts]
        assert sum(mine.values()) == pytest.approx(1)
        lower = {dict(labels)["above"] for labels in shares if ("signal", signal) in labels}
        assert lower == {"-Inf", *live} - {"+Inf"}
    read = [value for labels, value in shares.items() if ("signal", "digit") in labels]
    assert read == [count / kept.digits for count in kept.read]


def test_a_model_without_a_reference_has_none_told(released: ModelFolder) -> None:
    """Nothing is made up; nor is anything left of the model before, nor told of one that was counted otherwise."""
    textbook = model_folder.load(ROOT / "models" / "textbook-1.0.0")
    assert textbook.manifest.reference is None
    kept = released.manifest.reference
    assert kept
    metrics = Metrics()
    metrics.set_model("a", "1.0.0", "0", kept)
    assert "digits_reference_ratio{" in metrics.render().decode()
    metrics.set_model("b", "1.0.0", "1", None)
    assert "digits_reference_ratio" not in metrics.render().decode()
    bounds = (0.1, *kept.signals["confidence"].bounds[1:])
    other = kept.signals["confidence"].model_copy(update={"bounds": bounds})
    metrics.set_model("c", "1.0.0", "2", kept.model_copy(update={"signals": kept.signals | {"confidence": other}}))
    assert 'signal="confidence"' not in metrics.render().decode()
    assert 'signal="typicality"' in metrics.render().decode()


@needs_promtool
def test_promtool_finds_nothing_to_complain_of(server: Server) -> None:
    """Names, types and help texts are as Prometheus's guide has them; no series tells when it was made."""
    text = httpx.get(f"{server.url}/metrics").content
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    assert b"_created" not in text


@needs_promtool
def test_workers_are_added_up(digits: Digits) -> None:
    """Two workers and connections of their own: whoever is asked tells of all, and is as clean."""
    with running(DIGITS_WORKERS="2") as server:
        for _, image in digits * 2:
            httpx.post(f"{server.url}/predict", files={"file": png(image)}).raise_for_status()
        time.sleep(SETTLED)
        for _ in range(6):
            text = httpx.get(f"{server.url}/metrics").text
            told = samples(text)
            assert [told[f"digits_{name}_count", ()] for name in SIGNALS] == [40] * 3
            assert told["digits_ink_ratio_sum", ()] == pytest.approx(2 * sum(i.mean() / 255 for _, i in digits))
            assert told["digits_queue_size", ()] == 0
            assert told["digits_ready", ()] == 1
            assert sum(value for (name, _), value in told.items() if name == "digits_reference_ratio") == pytest.approx(
                4
            )
            done = subprocess.run(
                ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_queue_is_what_waits_in_all_workers(seven: Grey) -> None:
    """Twelve requests at once and a slow engine: all wait but one or two, whichever worker is asked; then none."""
    flags = ("--workers", "2", "--batch-max", "1", "--deadline-ms", "60000")
    with running(*flags, module="benchmarks.faulty_server", FAULTY_SLOW_MS="250") as server:

        def post() -> None:
            httpx.post(f"{server.url}/predict", files={"file": png(seven)}, timeout=30).raise_for_status()

        threads = [threading.Thread(target=post) for _ in range(12)]
        for thread in threads:
            thread.start()
        sizes = []
        while any(thread.is_alive() for thread in threads):
            sizes.append(asked(server)["digits_queue_size", ()])
        assert 8 <= max(sizes) <= 11
        time.sleep(SETTLED)
        assert [asked(server)["digits_queue_size", ()] for _ in range(6)] == [0] * 6


def test_readiness_is_told(seven: Grey, tmp_path: Path) -> None:
    """1, then 0 when the engine fails, then 1 again when it works."""
    fault = tmp_path / "fault"
    with running(module="benchmarks.faulty_server", FAULTY_FILE=str(fault)) as server:
        assert asked(server)["digits_ready", ()] == 1
        fault.write_text("nan")
        httpx.post(f"{server.url}/predict", files={"file": png(seven)})
        told = asked(server)
        assert told["digits_ready", ()] == 0
        assert told["digits_requests_rejected_total", (("reason", "engine-failed"),)] == 1
        fault.unlink()
        server.wait_for_log("the engine works again")
        assert asked(server)["digits_ready", ()] == 1


def test_every_reason_to_refuse_is_there_from_the_start() -> None:
    """What Prometheus sees for the first time it does not count as a growth."""
    slugs = {slug for status, slug, _ in TABLE.values() if status in REJECTED} - {"unknown-host"}
    protocol = set(re.findall(r'_refuse\(\d+, "(\w+)"\)', (ROOT / "app" / "protocol.py").read_text()))
    assert protocol
    assert set(REASONS) == slugs | protocol
    told = samples(Metrics().text().decode())
    assert {labels[0][1] for name, labels in told if name == "digits_requests_rejected_total"} == set(REASONS)
    assert len([name for name, _ in told if name == "digits_predictions_total"]) == 21
