"""Hot reload: the model changes while the service answers."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.inference.model_folder import ModelFolder
from tests.support.pictures import Grey, png
from tests.support.reloading import point_link, reload_model
from tests.support.running import ROOT, Server, running

pytestmark = pytest.mark.slow  # starts services, or reads hundreds of pictures


@pytest.fixture(scope="module")
def link(released: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A link to the model folder that the server of this module loads."""
    link = tmp_path_factory.mktemp("models") / "model"
    link.symlink_to(released.folder)
    return link


@pytest.fixture(scope="module")
def linked(link: Path) -> Iterator[Server]:
    """A server whose model setting is the link."""
    with running(DIGITS_MODEL=str(link)) as server:
        yield server


def test_models_change_under_load_and_no_answer_mixes_two(
    seven: Grey, released: ModelFolder, link: Path, linked: Server, tmp_path: Path
) -> None:
    """Each request gets an answer from the model that it names. Broken folders are refused."""
    textbook = ROOT / "models" / "textbook-1.0.0"
    broken = Path(shutil.copytree(textbook, tmp_path / "broken"))
    weights = next(broken.glob("*.onnx"))
    weights.write_bytes(weights.read_bytes()[:-10])
    doubtful = png(np.maximum(seven, seven.T))  # two models do not give it the same confidence to six decimal places
    answers: list[tuple[int, str, float]] = []
    stop = threading.Event()

    def send() -> None:
        with httpx.Client(timeout=20) as client:
            while not stop.is_set():
                answer = client.post(f"{linked.url}/predict", files={"file": doubtful})
                body = answer.json()
                answers.append((answer.status_code, body["model"], body["confidence"]))

    threads = [threading.Thread(target=send, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for folder, outcome in (
        (textbook, "taken"),
        (broken, "failed"),
        (released.folder, "taken"),
        (tmp_path / "nothing", "failed"),
        (textbook, "taken"),
    ):
        point_link(link, folder)
        info = reload_model(linked)
        assert info["last_reload"]["outcome"] == outcome
        assert str(link.parent) not in info["last_reload"]["detail"]
        assert str(tmp_path) not in info["last_reload"]["detail"]
        assert httpx.get(f"{linked.url}/readyz").status_code == 200
        time.sleep(0.2)  # let some requests through
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
    assert info["model"]["name"] == "textbook"
    metrics = httpx.get(f"{linked.url}/metrics").text
    log = linked.log.read_text()
    assert {status for status, _, _ in answers} == {200}
    assert len({(model, confidence) for _, model, confidence in answers}) == 2
    assert {model for _, model, _ in answers} == {"digitnet-1.7.0", "textbook-1.0.0"}
    assert 'digits_model_reloads_total{outcome="failed"} 2.0' in metrics
    assert 'name="textbook"' in metrics
    assert "altered or incomplete" in log
    assert "Traceback" not in log


def test_the_same_model_is_not_loaded_again(linked: Server) -> None:
    """If the folder has not changed, the reload changes nothing and reports that."""
    info = reload_model(linked)
    assert info["last_reload"]["outcome"] == "unchanged"


def test_a_reload_that_fails_for_any_reason_is_reported_and_the_next_one_works(tmp_path: Path) -> None:
    """An engine that raises while it is tested, as with too little memory on a GPU, ends only that reload."""
    fault = tmp_path / "fault"
    with running(module="benchmarks.faulty_server", FAULTY_FILE=str(fault)) as server:
        fault.write_text("error")
        for failures in (1, 2):
            os.kill(server.pid, signal.SIGHUP)
            wait_for_failures(server, failures)
            assert httpx.get(f"{server.url}/info").json()["last_reload"]["outcome"] == "failed"
        server.wait_for_log("RuntimeError: CUDA error")
        fault.unlink()
        assert reload_model(server)["last_reload"]["outcome"] == "unchanged"


def wait_for_failures(server: Server, count: int) -> None:
    deadline = time.monotonic() + 10
    while f'digits_model_reloads_total{{outcome="failed"}} {count}.0' not in httpx.get(f"{server.url}/metrics").text:
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.05)


def test_a_manifest_without_runs_is_refused(released: ModelFolder, tmp_path: Path) -> None:
    """/info shows the training runs, so a manifest has them. The old model stays, and the next reload works."""
    incomplete = Path(shutil.copytree(ROOT / "models" / "textbook-1.0.0", tmp_path / "incomplete"))
    manifest = json.loads((incomplete / "manifest.json").read_text())
    (incomplete / "manifest.json").write_text(json.dumps(manifest | {"training": {}}))
    link = tmp_path / "link"
    link.symlink_to(released.folder)
    with running(DIGITS_MODEL=str(link)) as server:
        point_link(link, incomplete)
        info = reload_model(server)
        assert (info["last_reload"]["outcome"], info["model"]["name"]) == ("failed", "digitnet")
        server.wait_for_log("training has no list of runs")
        point_link(link, ROOT / "models" / "textbook-1.0.0")
        assert reload_model(server)["model"]["name"] == "textbook"
