"""The metrics: by Prometheus's own parser and linter, for each way to send a picture, and of all workers."""

import json
import math
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
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from app.http.problems import REJECTED, TABLE
from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from app.observability.input_statistics import InputStatistics
from app.observability.instruments import BatchHistogram
from app.observability.metrics import REASONS, Metrics
from tests.support.pictures import Grey, make_page, png
from tests.support.prometheus import needs_prometheus, watched
from tests.support.running import METRICS_DELAY_S, ROOT, Server, running

Digits = list[tuple[int, Grey]]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
SIGNALS = ("confidence", "typicality", "ink_ratio")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)


def parse_samples(text: str) -> Samples:
    """Parse every sample by its name and labels, with Prometheus's own parser. None may appear twice."""
    found = [
        ((sample.name, tuple(sorted(sample.labels.items()))), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def scrape(server: Server) -> Samples:
    """Return the samples of a service. A new connection may reach any of its workers."""
    return parse_samples(httpx.get(f"{server.url}/metrics").raise_for_status().text)


def growth(after: Samples, before: Samples) -> Counter[str]:
    """Return by how much each sample without labels has grown."""
    return Counter(
        {name: value - before.get((name, labels), 0) for (name, labels), value in after.items() if not labels}
    )


def test_a_batch_is_counted_as_its_values_one_by_one() -> None:
    """The text is that of prometheus-client's own histogram, with and without a label."""
    values = [0.0, 0.1, 0.1000001, 3.0, math.inf]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batches = BatchHistogram("t_seconds", "Times.", "path", buckets=(0.1, 2.5), registry=ours)
    batches.observe_all(np.array(values), "/a")
    batches.observe_all(np.array(values[:2]), "/b")
    BatchHistogram("t_size", "Sizes.", buckets=(1, 2), registry=ours)
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here
    single = Histogram("t_seconds", "Times.", ["path"], buckets=(0.1, 2.5), registry=theirs)
    for path, count in (("/a", 5), ("/b", 2)):
        for value in values[:count]:
            single.labels(path).observe(value)
    Histogram("t_size", "Sizes.", buckets=(1, 2), registry=theirs)
    assert generate_latest(ours) == generate_latest(theirs)


def test_each_way_to_send_a_picture_is_counted(server: Server, digits: Digits, seven: Grey) -> None:
    """One file, one with a query, several files, tensors and a page: each digit that was read is counted with its ink.

    Blank pictures are not read, so they are not counted. Neither are the candidates of a page that were not selected.
    """
    ink = float(seven.mean()) / 255
    confidence = httpx.post(f"{server.url}/predict", files={"file": png(seven)}).json()["confidence"]
    images = np.stack([seven] * 4)
    tensor = {"name": "images", "shape": [4, 28, 28], "datatype": "UINT8"}

    def post(path: str) -> None:
        httpx.post(server.url + path, files={"file": png(seven)}).raise_for_status()

    def post_batch(pictures: list[bytes]) -> None:
        files = [("file", (f"{number}.png", picture)) for number, picture in enumerate(pictures)]
        httpx.post(f"{server.url}/predict/batch", files=files).raise_for_status()

    def post_json_tensor() -> None:
        inputs = [tensor | {"data": images.ravel().tolist()}]
        httpx.post(f"{server.url}/v2/models/digitnet/infer", json={"inputs": inputs}).raise_for_status()

    def post_binary_tensor() -> None:
        head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": images.nbytes}}]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        url = f"{server.url}/v2/models/digitnet/infer"
        httpx.post(url, content=head + images.tobytes(), headers=headers).raise_for_status()

    blank = png(np.zeros((28, 28), np.uint8))
    ways: list[tuple[int, Callable[[], object]]] = [
        (1, lambda: post("/predict")),
        (1, lambda: post("/predict?preview=true")),
        (3, lambda: post_batch([png(seven), blank, b"no picture", png(seven), png(seven)])),
        (4, post_json_tensor),
        (4, post_binary_tensor),
        (0, lambda: httpx.post(f"{server.url}/predict", files={"file": blank})),
    ]
    for count, send in ways:
        before = scrape(server)
        send()
        counts = growth(scrape(server), before)
        assert [counts[f"digits_{name}_count"] for name in SIGNALS] == [count] * 3
        assert counts["digits_ink_ratio_sum"] == pytest.approx(count * ink)
        assert counts["digits_confidence_sum"] == pytest.approx(count * confidence, abs=1e-4)

    before = scrape(server)
    number = make_page([[image for _, image in digits[:10:2]]])
    assert httpx.post(f"{server.url}/read", files={"file": png(number)}).json()["text"] == "01234"
    counts = growth(scrape(server), before)
    assert [counts[f"digits_{name}_count"] for name in SIGNALS] == [5] * 3


def test_confidences_fall_into_their_buckets() -> None:
    """Values are counted in the same buckets whether they are recorded one by one or together."""
    one, several = Metrics(), Metrics()
    values = np.array([0.3, 0.5, 0.97, 0.999999, 1.0])
    for value in values:
        one.observe_input(value, value, value)
    several.observe_inputs(InputStatistics(values, values, values))
    assert parse_samples(one.render().decode()) == pytest.approx(parse_samples(several.render().decode()))
    samples = parse_samples(one.render().decode())
    buckets = {labels[0][1]: value for (name, labels), value in samples.items() if name == "digits_confidence_bucket"}
    expected = {"0.5": 2, "0.8": 2, "0.95": 2, "0.99": 3, "0.999": 3, "0.9999": 3, "0.99999": 3, "+Inf": 5}
    assert buckets == expected


def test_the_reference_can_be_compared_with_the_live_histograms(server: Server, released: ModelFolder) -> None:
    """Its shares are those of the manifest and sum to 1, and its buckets are those of the live histograms."""
    samples = scrape(server)
    shares = {labels: value for (name, labels), value in samples.items() if name == "digits_reference_ratio"}
    reference = released.manifest.reference
    assert reference
    for signal in SIGNALS:
        mine = {dict(labels)["bucket"]: value for labels, value in shares.items() if ("signal", signal) in labels}
        live = [dict(labels)["le"] for name, labels in samples if name == f"digits_{signal}_bucket"]
        assert sorted(mine) == sorted(live)
        assert list(mine.values()) == [count / reference.digits for count in reference.signals[signal].counts]
        assert sum(mine.values()) == pytest.approx(1)
        lower = {dict(labels)["above"] for labels in shares if ("signal", signal) in labels}
        assert lower == {"-Inf", *live} - {"+Inf"}
    read = [value for labels, value in shares.items() if ("signal", "digit") in labels]
    assert read == [count / reference.digits for count in reference.read]


def test_a_model_without_a_reference_has_no_reference_metrics(released: ModelFolder) -> None:
    """Nothing of the model before remains. A signal that was counted in other buckets is left out."""
    textbook = model_folder.load(ROOT / "models" / "textbook-1.0.0")
    assert textbook.manifest.reference is None
    reference = released.manifest.reference
    assert reference
    metrics = Metrics()
    metrics.set_model("a", "1.0.0", "0", reference)
    assert "digits_reference_ratio{" in metrics.render().decode()
    metrics.set_model("b", "1.0.0", "1", None)
    assert "digits_reference_ratio" not in metrics.render().decode()
    bounds = (0.1, *reference.signals["confidence"].bounds[1:])
    other = reference.signals["confidence"].model_copy(update={"bounds": bounds})
    metrics.set_model(
        "c", "1.0.0", "2", reference.model_copy(update={"signals": reference.signals | {"confidence": other}})
    )
    assert 'signal="confidence"' not in metrics.render().decode()
    assert 'signal="typicality"' in metrics.render().decode()


@needs_promtool
def test_promtool_accepts_the_metrics(server: Server) -> None:
    """Names, types and help texts follow Prometheus's guide. There are no ``_created`` series."""
    text = httpx.get(f"{server.url}/metrics").content
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    assert b"_created" not in text


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text;version=one", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_a_client_gets_the_format_that_it_accepts(server: Server, accept: str, content_type: str) -> None:
    """HEAD says the same as GET. A version that is no number is ignored."""
    for method in ("GET", "HEAD"):
        answer = httpx.request(method, f"{server.url}/metrics", headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)


PROMETHEUS_ACCEPTS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


@needs_prometheus
@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_prometheus_reads_openmetrics(workers: str, digits: Digits) -> None:
    """It prefers OpenMetrics. It gets all workers' numbers and the model's reference, as in the text."""
    with running("--workers", workers) as server:
        for _, image in digits:
            httpx.post(f"{server.url}/predict", files={"file": png(image)}).raise_for_status()
        time.sleep(METRICS_DELAY_S)
        answer = httpx.get(f"{server.url}/metrics", headers={"Accept": PROMETHEUS_ACCEPTS})
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        strict = {family.name for family in parse_openmetrics(answer.text)}  # type: ignore[no-untyped-call]
        assert strict == {family.name for family in text_string_to_metric_families(httpx.get(answer.url).text)}
        with watched(server) as prometheus:
            assert prometheus.query("sum(up)") == {(): 1}
            assert prometheus.query("sum(digits_confidence_count)") == {(): 20}
            assert prometheus.query("sum(digits_reference_ratio)") == {(): pytest.approx(4)}


@needs_promtool
@pytest.mark.slow
def test_each_worker_reports_the_sum_of_all_workers(digits: Digits) -> None:
    """New connections reach both workers. Each reports the same, and promtool accepts it."""
    with running(DIGITS_WORKERS="2") as server:
        for _, image in digits * 2:
            httpx.post(f"{server.url}/predict", files={"file": png(image)}).raise_for_status()
        time.sleep(METRICS_DELAY_S)
        for _ in range(6):
            text = httpx.get(f"{server.url}/metrics").text
            samples = parse_samples(text)
            assert [samples[f"digits_{name}_count", ()] for name in SIGNALS] == [40] * 3
            assert samples["digits_ink_ratio_sum", ()] == pytest.approx(2 * sum(i.mean() / 255 for _, i in digits))
            assert samples["digits_queue_size", ()] == 0
            assert samples["digits_ready", ()] == 1
            assert sum(
                value for (name, _), value in samples.items() if name == "digits_reference_ratio"
            ) == pytest.approx(4)
            done = subprocess.run(
                ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.serial
def test_the_queue_is_that_of_all_workers(seven: Grey) -> None:
    """With a slow engine, all but one or two of twelve requests wait. Each worker reports that, and later none."""
    flags = ("--workers", "2", "--batch-max", "1", "--deadline-ms", "60000")
    with running(*flags, module="benchmarks.faulty_server", FAULTY_SLOW_MS="250") as server:

        def post() -> None:
            httpx.post(f"{server.url}/predict", files={"file": png(seven)}, timeout=30).raise_for_status()

        threads = [threading.Thread(target=post) for _ in range(12)]
        for thread in threads:
            thread.start()
        sizes = []
        while any(thread.is_alive() for thread in threads):
            sizes.append(scrape(server)["digits_queue_size", ()])
        assert 8 <= max(sizes) <= 11
        time.sleep(METRICS_DELAY_S)
        assert [scrape(server)["digits_queue_size", ()] for _ in range(6)] == [0] * 6


def test_readiness_follows_the_engine(seven: Grey, tmp_path: Path) -> None:
    """It is 1, then 0 when the engine fails, then 1 again when it works."""
    fault = tmp_path / "fault"
    with running(module="benchmarks.faulty_server", FAULTY_FILE=str(fault)) as server:
        assert scrape(server)["digits_ready", ()] == 1
        fault.write_text("nan")
        httpx.post(f"{server.url}/predict", files={"file": png(seven)})
        samples = scrape(server)
        assert samples["digits_ready", ()] == 0
        assert samples["digits_requests_rejected_total", (("reason", "engine-failed"),)] == 1
        fault.unlink()
        server.wait_for_log("the engine works again")
        assert scrape(server)["digits_ready", ()] == 1


def test_every_reason_for_a_rejection_exists_from_the_start() -> None:
    """Prometheus sees no increase in a series that appears with its first value."""
    slugs = {slug for status, slug, _ in TABLE.values() if status in REJECTED} - {"unknown-host"}
    protocol = set(re.findall(r'_refuse\(\d+, "(\w+)"\)', (ROOT / "app" / "server" / "http_protocol.py").read_text()))
    assert protocol
    assert set(REASONS) == slugs | protocol
    samples = parse_samples(Metrics().render().decode())
    assert {labels[0][1] for name, labels in samples if name == "digits_requests_rejected_total"} == set(REASONS)
    assert len([name for name, _ in samples if name == "digits_predictions_total"]) == 21
