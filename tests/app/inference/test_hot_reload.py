"""A new model without a gap."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.inference.model_folder import ModelFolder
from app.inference.hot_reload import HangUp
from tests.support.pictures import Grey, png
from tests.support.running import ROOT, Server, running
from tests.app.server.test_workers import workers_of


def hang_up_and_wait(server: Server, url: str, before: str | None) -> dict[str, Any]:
    """Send SIGHUP, and wait until /info tells of another look than before."""
    os.kill(server.pid, signal.SIGHUP)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        info: dict[str, Any] = httpx.get(f"{url}/info").json()
        if info["last_reload"] and info["last_reload"]["detail"] != before:
            return info
        time.sleep(0.02)
    raise TimeoutError(server.log.read_text())


def point(link: Path, folder: Path) -> None:
    """Move a link in one step, as whoever releases a model does."""
    other = link.with_name("other")
    other.symlink_to(folder)
    other.replace(link)


def test_models_change_under_load_and_no_answer_is_of_two(seven: Grey, released: ModelFolder, tmp_path: Path) -> None:
    """Each answer names the model whose probabilities it has, each request has one, and broken folders stay out."""
    textbook = ROOT / "models" / "textbook-1.0.0"
    broken = Path(shutil.copytree(textbook, tmp_path / "broken"))
    weights = next(broken.glob("*.onnx"))
    weights.write_bytes(weights.read_bytes()[:-10])
    link = tmp_path / "model"
    link.symlink_to(released.folder)
    doubtful = png(np.maximum(seven, seven.T))  # that two models would read alike to six places is out of the question
    answers: list[tuple[int, str, float]] = []
    stop = threading.Event()

    with running(DIGITS_MODEL=str(link)) as server:

        def send() -> None:
            with httpx.Client(timeout=20) as client:
                while not stop.is_set():
                    answer = client.post(f"{server.url}/predict", files={"file": doubtful})
                    body = answer.json()
                    answers.append((answer.status_code, body["model"], body["confidence"]))

        threads = [threading.Thread(target=send, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        said = None
        for folder, outcome in (
            (textbook, "taken"),
            (broken, "failed"),
            (released.folder, "taken"),
            (tmp_path / "nothing", "failed"),
            (textbook, "taken"),
        ):
            point(link, folder)
            info = hang_up_and_wait(server, server.url, said)
            said = info["last_reload"]["detail"]
            assert info["last_reload"]["outcome"] == outcome
            assert str(tmp_path) not in said
            assert httpx.get(f"{server.url}/readyz").status_code == 200
            time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join(timeout=30)
        assert info["model"]["name"] == "textbook"
        metrics = httpx.get(f"{server.url}/metrics").text
        log = server.log.read_text()
    assert {status for status, _, _ in answers} == {200}
    assert len({(model, confidence) for _, model, confidence in answers}) == 2
    assert {model for _, model, _ in answers} == {"digitnet-1.5.0", "textbook-1.0.0"}
    assert 'digits_model_reloads_total{outcome="failed"} 2.0' in metrics
    assert 'name="textbook"' in metrics
    assert "altered or incomplete" in log
    assert "Traceback" not in log


def test_the_same_model_is_left_alone(server: Server) -> None:
    """SIGHUP without anything new changes nothing, and says so."""
    info = hang_up_and_wait(server, server.url, None)
    assert info["last_reload"]["outcome"] == "unchanged"


def test_every_worker_looks(tmp_path: Path, released: ModelFolder) -> None:
    """SIGHUP to the one that was started reaches its workers, which stay the same processes."""
    link = tmp_path / "model"
    link.symlink_to(released.folder)
    with running("--workers", "2", DIGITS_MODEL=str(link)) as server:
        before = workers_of(server)
        point(link, ROOT / "models" / "textbook-1.0.0")
        hang_up_and_wait(server, server.url, None)
        deadline = time.monotonic() + 10
        while {httpx.get(f"{server.url}/info").json()["model"]["name"] for _ in range(12)} != {"textbook"}:
            assert time.monotonic() < deadline
        assert workers_of(server) == before


@pytest.mark.parametrize(("had", "has", "asks"), [(False, False, True), (True, True, True), (True, False, False)])
def test_a_terminal_that_goes_away_ends_the_service(
    monkeypatch: pytest.MonkeyPatch, had: bool, has: bool, asks: bool
) -> None:
    """SIGHUP from a closed terminal is a wish to end; from anybody else it asks to look."""
    done: list[str] = []
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)  # also under nohup
    monkeypatch.setattr("app.inference.hot_reload.has_terminal", lambda: had)
    hang_up = HangUp(lambda: done.append("look"))
    monkeypatch.setattr("app.inference.hot_reload.has_terminal", lambda: has)
    monkeypatch.setattr(os, "kill", lambda pid, number: done.append("end"))
    hang_up()
    assert done == (["look"] if asks else ["end"])
