"""Several workers: one address, common metrics, and a dead worker is replaced."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.inference.model_folder import ModelFolder
from tests.support.pictures import Grey, png
from tests.support.running import METRICS_DELAY_S, ROOT, Server, clean_environment, run_app, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Server]:
    with running("--workers", "2") as server:
        wait_until_ready(server, 2)
        yield server


def workers_of(server: Server) -> set[int]:
    """Return the worker processes: the children of the supervisor, without Python's resource tracker."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return {int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def count_successes(server: Server) -> int:
    """Return how many requests to /predict got a 200, according to the metrics."""
    text = httpx.get(f"{server.url}/metrics").text
    found = re.search(r'http_requests_total\{method="POST",path="/predict",status="200"\} ([\d.]+)', text)
    return int(float(found[1])) if found else 0


def test_metrics_are_the_sum_of_all_workers(two_workers: Server, seven: Grey) -> None:
    """Whichever worker answers and whichever reports the metrics, no request is missing or counted twice."""
    before = count_successes(two_workers)
    for _ in range(30):  # a connection each, so that both workers get some
        assert httpx.post(f"{two_workers.url}/predict", files={"file": png(seven)}).json()["digit"] == 7
    time.sleep(METRICS_DELAY_S)
    assert {count_successes(two_workers) for _ in range(10)} == {before + 30}


def test_a_killed_worker_is_replaced_while_the_other_serves(two_workers: Server, seven: Grey) -> None:
    """There are two again within seconds, the service answers meanwhile, and no request stays in flight."""
    before, ready = workers_of(two_workers), count_ready(two_workers)
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (now := workers_of(two_workers)) == before or len(now) < 2:
        assert time.monotonic() < deadline, "the worker was not replaced"
        httpx.post(f"{two_workers.url}/predict", files={"file": png(seven)}, timeout=20).raise_for_status()
    assert len(now & before) == 1
    wait_until_ready(two_workers, ready + 1)  # it then removes the dead worker's metrics
    time.sleep(METRICS_DELAY_S)
    in_flight = re.search(r"http_requests_in_flight ([\d.]+)", httpx.get(f"{two_workers.url}/metrics").text)
    assert in_flight
    assert float(in_flight[1]) <= 1  # the request for the metrics itself


def test_a_killed_worker_loses_only_the_requests_in_progress(two_workers: Server, seven: Grey) -> None:
    """Three workers are killed one after the other: each time, four clients lose at most one request each."""
    outcomes: Counter[str] = Counter()
    stop = threading.Event()

    def send() -> None:
        with httpx.Client(timeout=20) as client:
            while not stop.is_set():
                try:
                    answer = client.post(f"{two_workers.url}/predict", files={"file": png(seven)})
                    outcomes[str(answer.status_code)] += 1
                except httpx.HTTPError as error:
                    outcomes[type(error).__name__] += 1

    threads = [threading.Thread(target=send, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        ready = count_ready(two_workers)
        os.kill(max(workers_of(two_workers)), signal.SIGKILL)
        wait_until_ready(two_workers, ready + 1)
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
    lost = outcomes.total() - outcomes["200"]
    assert outcomes["200"] > 50
    assert lost <= 3 * 4


def test_a_worker_that_cannot_start_leaves_the_others_running(
    released: ModelFolder, tmp_path: Path, seven: Grey
) -> None:
    """The model folder disappears, then a worker dies: the other serves. When the folder is back, there are two."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "model"))
    with running("--workers", "2", DIGITS_MODEL=str(folder)) as server:
        wait_until_ready(server, 2)
        assert len(workers_of(server)) == 2
        folder.rename(tmp_path / "away")
        os.kill(min(workers_of(server)), signal.SIGKILL)
        wait_for(lambda: "model folder not found" in server.log.read_text())
        for _ in range(10):
            httpx.post(f"{server.url}/predict", files={"file": png(seven)}).raise_for_status()
        (tmp_path / "away").rename(folder)
        wait_until_ready(server, 3)


def count_ready(server: Server) -> int:
    """Return how many workers have ever become ready."""
    return server.log.read_text().count("is ready on")


def wait_until_ready(server: Server, count: int) -> None:
    """Wait until so many workers have become ready."""
    wait_for(lambda: count_ready(server) == count)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_sigterm_ends_all_workers() -> None:
    """No worker is left behind."""
    with running("--workers", "2") as server:
        workers = workers_of(server)
        assert len(workers) == 2
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_model_that_cannot_be_loaded_stops_the_service() -> None:
    """Workers that cannot start are not restarted forever."""
    with pytest.raises(RuntimeError, match="model folder not found"), running("--workers", "2", "--model", "/none"):
        pass


@pytest.mark.parametrize("delay_s", [0.0, 0.4])
def test_ctrl_c_while_workers_start_is_quiet(delay_s: float) -> None:
    """A terminal sends SIGINT to all processes, whatever they are doing. They end without a drain or a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", "0", "--workers", "2"],
        cwd=ROOT,
        env=clean_environment(DIGITS_DRAIN_MS="60000", DIGITS_GRACE_S="120"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    server = Server("", process.pid, Path())
    try:
        while len(workers_of(server)) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(delay_s)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert "Traceback" not in output
    assert process.returncode == 0


def test_sigint_to_the_supervisor_alone_ends_it_without_a_drain() -> None:
    """The workers hear of it from the supervisor."""
    with running("--workers", "2", DIGITS_DRAIN_MS="60000", DIGITS_GRACE_S="120") as server:
        os.kill(server.pid, signal.SIGINT)
        wait_for(lambda: not workers_of(server))


def in_every_worker(folder: Path, code: str) -> dict[str, Any]:
    """Return an environment in which each worker runs some code before it imports anything."""
    (folder / "sitecustomize.py").write_text(f"import sys\nif '--multiprocessing-fork' in sys.argv:\n    {code}\n")
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def test_a_worker_may_take_long_to_start(tmp_path: Path) -> None:
    """On a slow machine, the imports alone take longer than a worker may be silent later."""
    slow = in_every_worker(tmp_path, "import time; time.sleep(6.5)")
    with running("--workers", "2", **slow) as server:
        wait_until_ready(server, 2)
        assert "ended with" not in server.log.read_text()


def test_a_silent_worker_is_killed_and_replaced() -> None:
    """Its event loop does not turn. SIGSTOP stands for any reason."""
    with running("--workers", "2", DIGITS_WORKER_TIMEOUT_S="3") as server:
        wait_until_ready(server, 2)
        silent = min(workers_of(server))
        os.kill(silent, signal.SIGSTOP)
        wait_until_ready(server, 3)
        assert silent not in workers_of(server)
        assert "no sign of life" in server.log.read_text()


@pytest.mark.parametrize(
    "code", ["import os; os._exit(1)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"], ids=["exit", "kill"]
)
def test_workers_that_cannot_start_are_replaced_ever_more_slowly_then_given_up(tmp_path: Path, code: str) -> None:
    """Each attempt waits longer than the last. After a few, the service ends with an error."""
    attempts = tmp_path / "attempts"
    attempts.touch()
    broken = in_every_worker(
        tmp_path, f"import os; os.write(os.open({str(attempts)!r}, os.O_WRONLY | os.O_APPEND), b'.'); {code}"
    )
    done = run_app("serve", "--port", "0", "--workers", "2", **broken)
    assert done.returncode == 3
    assert "no worker can start" in done.stderr
    assert "Traceback" not in done.stderr
    assert 4 <= len(attempts.read_text()) <= 12


def test_workers_that_cannot_be_executed_end_the_service() -> None:
    """Python itself is missing, as after an update."""
    script = (
        "import multiprocessing, sys\n"
        "from app.__main__ import main\n"
        "multiprocessing.set_executable('/nowhere/python')\n"
        "sys.exit(main(['serve', '--port', '0', '--workers', '2']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.count("ended with") <= 12


def test_workers_end_with_their_supervisor() -> None:
    """If the supervisor is killed, the workers stop listening, so that another service can use the port."""
    with running("--workers", "2") as server:
        wait_until_ready(server, 2)
        workers = workers_of(server)
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))
        with socket.socket() as successor:
            successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            successor.bind(("127.0.0.1", server.port))
            successor.listen()


def test_signals_add_and_remove_workers(seven: Grey) -> None:
    """SIGTTIN adds a worker like the others. When SIGTTOU removes it, it drains, and no request is lost."""
    with running("--workers", "2", DIGITS_DRAIN_MS="3000") as server:
        wait_until_ready(server, 2)
        os.kill(server.pid, signal.SIGTTIN)
        wait_until_ready(server, 3)
        assert len(workers_of(server)) == 3
        began = time.monotonic()
        os.kill(server.pid, signal.SIGTTOU)
        while len(workers_of(server)) == 3:
            httpx.post(f"{server.url}/predict", files={"file": png(seven)}).raise_for_status()
        assert time.monotonic() - began > 2
        time.sleep(1)
        assert len(workers_of(server)) == 2
        assert "ended with" not in server.log.read_text()


def test_the_supervisor_does_not_load_the_service(two_workers: Server) -> None:
    """It has none of the libraries that serve or read in its memory."""
    maps = Path(f"/proc/{two_workers.pid}/maps").read_text()
    for library in ("onnxruntime", "cv2", "numpy", "httptools", "uvloop", "torch"):
        assert library not in maps


def test_no_folder_for_temporary_files_is_an_error_of_one_line(tmp_path: Path) -> None:
    """Workers need one for their counts."""
    script = (
        "import sys, tempfile\n"
        "from app.__main__ import main\n"
        "tempfile._candidate_tempdir_list = lambda: ['/nowhere']\n"
        "sys.exit(main(['serve', '--port', '0', '--workers', '2']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("digitserve: workers need a folder for temporary files")
