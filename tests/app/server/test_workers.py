"""Several workers: one address, counts of all together, and a dead one replaced."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.inference.model_folder import ModelFolder
from tests.support.pictures import Grey, png
from tests.support.running import ROOT, Server, clean_environment, running
from tests.app.observability.test_metrics import SETTLED


@pytest.fixture(scope="module")
def two() -> Iterator[Server]:
    with running("--workers", "2") as server:
        yield server


def workers_of(server: Server) -> set[int]:
    """The processes that serve: children of the one that was started, without Python's resource tracker."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return {int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def answered(server: Server) -> int:
    """Requests for /predict that were answered with 200, by the metrics."""
    text = httpx.get(f"{server.url}/metrics").text
    found = re.search(r'http_requests_total\{method="POST",path="/predict",status="200"\} ([\d.]+)', text)
    return int(float(found[1])) if found else 0


def test_counts_are_of_all_workers_together(two: Server, seven: Grey) -> None:
    """Whichever worker answers, and whichever is asked for the metrics, no request is missing or counted twice."""
    before = answered(two)
    for _ in range(30):  # a connection each, so that both workers have some
        assert httpx.post(f"{two.url}/predict", files={"file": png(seven)}).json()["digit"] == 7
    time.sleep(SETTLED)
    assert {answered(two) for _ in range(10)} == {before + 30}


def test_a_killed_worker_is_replaced_while_the_other_serves(two: Server, seven: Grey) -> None:
    """There are two again within seconds, the service answers meanwhile, and nothing stays in flight."""
    before = workers_of(two)
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (now := workers_of(two)) == before or len(now) < 2:
        assert time.monotonic() < deadline, "no new worker came"
        httpx.post(f"{two.url}/predict", files={"file": png(seven)}, timeout=20).raise_for_status()
    assert len(now & before) == 1
    time.sleep(SETTLED)
    in_flight = re.search(r"http_requests_in_flight ([\d.]+)", httpx.get(f"{two.url}/metrics").text)
    assert in_flight
    assert float(in_flight[1]) <= 1  # the question itself


def test_kills_under_load_cost_only_what_the_dead_were_at(two: Server, seven: Grey) -> None:
    """Three workers are killed one after the other: four clients lose no more than a request each time."""
    outcomes: Counter[str] = Counter()
    stop = threading.Event()

    def send() -> None:
        with httpx.Client(timeout=20) as client:
            while not stop.is_set():
                try:
                    answer = client.post(f"{two.url}/predict", files={"file": png(seven)})
                    outcomes[str(answer.status_code)] += 1
                except httpx.HTTPError as error:
                    outcomes[type(error).__name__] += 1

    threads = [threading.Thread(target=send, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        ready = two.log.read_text().count("is ready on")
        os.kill(max(workers_of(two)), signal.SIGKILL)
        wait_for(lambda: two.log.read_text().count("is ready on") == ready + 1)  # noqa: B023  # waited for at once
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
    lost = outcomes.total() - outcomes["200"]
    assert outcomes["200"] > 50
    assert lost <= 3 * 4


def test_a_worker_that_cannot_start_does_not_stop_the_others(released: ModelFolder, tmp_path: Path, seven: Grey) -> None:
    """The model folder breaks, then a worker dies: the other serves, and when the folder is whole there are two."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "model"))
    with running("--workers", "2", DIGITS_MODEL=str(folder)) as server:
        wait_for(lambda: len(workers_of(server)) == 2 and server.log.read_text().count("is ready on") == 2)
        folder.rename(tmp_path / "away")
        os.kill(min(workers_of(server)), signal.SIGKILL)
        wait_for(lambda: "no model folder is there" in server.log.read_text())
        for _ in range(10):
            httpx.post(f"{server.url}/predict", files={"file": png(seven)}).raise_for_status()
        (tmp_path / "away").rename(folder)
        wait_for(lambda: server.log.read_text().count("is ready on") == 3)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_end_is_the_end_of_all() -> None:
    """SIGTERM leaves no worker behind."""
    with running("--workers", "2") as server:
        workers = workers_of(server)
        assert len(workers) == 2
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_model_that_cannot_be_loaded_stops_all() -> None:
    """Workers that cannot start are not started for ever."""
    with pytest.raises(RuntimeError, match="no model folder is there"), running("--workers", "2", "--model", "/none"):
        pass


@pytest.mark.parametrize("later", [0.0, 0.4])
def test_ctrl_c_while_workers_start_is_quiet(later: float) -> None:
    """A terminal sends it to all of them, wherever they are: they end at once, and none with a traceback."""
    with subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", "0", "--workers", "2"],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        server = Server("", process.pid, Path())
        while len(workers_of(server)) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(later)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=4)
    assert "Traceback" not in output
    assert process.returncode == 0
