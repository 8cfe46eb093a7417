"""Inject faults under load: kill workers, swap models, connect slow clients.

    python -m benchmarks.faults [kill] [swap] [slow]

kill: one of two workers is killed, ten times. Counts failed requests and the time until two workers serve again.
swap: the model setting changes a hundred times, every tenth time to a broken folder. Checks that no request is lost
and that no answer mixes two models.
slow: five hundred clients send one byte per second. Measures how much longer a digit takes.
"""

import argparse
import asyncio
import io
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from app.inference import model_folder
from app.settings import released_model
from benchmarks.pinned_service import LOAD_CORE, run_bench, run_service, start_process

TEXTBOOK = Path(__file__).parent.parent / "models" / "textbook-1.0.0"
READY = "is ready on"  # each process logs this when it starts to serve


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> float:
    """Wait until a condition holds, and return the seconds that took."""
    started = time.perf_counter()
    while not condition():
        if time.perf_counter() > started + seconds:
            raise TimeoutError
        time.sleep(0.01)
    return time.perf_counter() - started


def kill_workers(times: int) -> bool:
    """Kill workers. True if no more requests failed than were in flight, and two workers were back within 2 s."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with run_service("--workers", "2", core=None, log=log) as (url, pid):

            def worker_pids() -> list[int]:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                return [
                    int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
                ]

            wait_for(lambda: log.read_text().count(READY) == 2)
            seconds = 3.0 * times + 2
            command = [sys.executable, "-m", "app", "bench", "--url", url, "--json", "--connections", "32"]
            load = start_process([*command, "--rate", "400", "--seconds", str(seconds)], None, subprocess.PIPE)
            time.sleep(2)
            recovery_s = []
            for number in range(times):
                ready = log.read_text().count(READY)
                os.kill(worker_pids()[number % 2], signal.SIGKILL)
                recovered = wait_for(lambda: log.read_text().count(READY) > ready)  # noqa: B023  # called at once
                recovery_s.append(recovered)
                time.sleep(max(0, 3 - recovered))
            result = json.loads(load.communicate()[0])
    failed = sum(result["errors"].values())
    print(
        f"kill: {times} kills of one of two workers, at {result['offered_per_second']:,.0f} requests/s: {failed} of "
        f"{result['requests']:,} requests failed ({result['errors']}); two workers serve again after "
        f"{statistics.median(recovery_s):.2f} s (median), {max(recovery_s):.2f} s (maximum)"
    )
    return max(recovery_s) < 2 and failed <= 32 * times


def swap_models(times: int) -> bool:
    """Swap models. True if every request was answered, and every answer came from one model."""
    golden = model_folder.load(released_model()).manifest.golden
    file = io.BytesIO()
    Image.fromarray(np.maximum(golden[0].image, golden[1].image.T)).save(file, "PNG")
    doubtful = file.getvalue()  # the confidences of the two models differ within six decimal places
    answers: Counter[tuple[str, float]] = Counter()
    failures: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        link = Path(folder) / "model"
        link.symlink_to(released_model())
        url, pid = stack.enter_context(run_service(DIGITS_MODEL=str(link)))
        broken = Path(shutil.copytree(TEXTBOOK, Path(folder) / "broken"))
        weights = next(broken.glob("*.onnx"))
        weights.write_bytes(weights.read_bytes()[:-10])

        async def send_forever(client: httpx.AsyncClient, stop: asyncio.Event) -> None:
            while not stop.is_set():
                try:
                    answer = await client.post(f"{url}/predict", files={"file": doubtful})
                    answer.raise_for_status()
                    body = answer.json()
                    answers[body["model"], body["confidence"]] += 1
                except httpx.HTTPError as error:
                    failures[type(error).__name__] += 1

        async def swap_under_load() -> Counter[str]:
            outcomes: Counter[str] = Counter()
            stop = asyncio.Event()
            async with httpx.AsyncClient(timeout=30) as client:
                senders = [asyncio.create_task(send_forever(client, stop)) for _ in range(8)]
                for number in range(times):
                    target = broken if number % 10 == 9 else (TEXTBOOK, released_model())[number % 2]
                    new_link = link.with_name("new-link")
                    new_link.symlink_to(target)
                    new_link.replace(link)
                    before = select_reloads((await client.get(f"{url}/metrics")).text)
                    os.kill(pid, signal.SIGHUP)
                    while select_reloads((await client.get(f"{url}/metrics")).text) == before:
                        pass
                    outcomes[(await client.get(f"{url}/info")).json()["last_reload"]["outcome"]] += 1
                stop.set()
                await asyncio.gather(*senders)
            return outcomes

        outcomes = asyncio.run(swap_under_load())
    print(
        f"swap: {times} reloads under load ({dict(outcomes)}): {answers.total():,} answers, "
        f"{len(answers)} different ones; failed: {dict(failures) or 'none'}"
    )
    return not failures and len(answers) == 2


def select_reloads(metrics: str) -> list[str]:
    """Return the lines of the metrics that count reloads."""
    return sorted(line for line in metrics.splitlines() if line.startswith("digits_model_reloads_total"))


async def run_slow_clients(port: int, clients: int) -> None:
    """Run clients that each start an upload, send one byte per second, and reconnect when they are cut off."""

    async def run_client() -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(
                    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99999\r\n\r\n"
                )
                closed = asyncio.create_task(reader.read())
                while not closed.done():
                    writer.write(b"x")
                    await asyncio.sleep(1)
                writer.close()

    await asyncio.gather(*(run_client() for _ in range(clients)))


def connect_slow_clients(pairs: int, clients: int = 500) -> bool:
    """Connect slow clients. True if the p99 of other clients rises to no more than 1.5 times what it was before."""
    ratios, with_clients, without = [], [], []
    with run_service() as (url, _):
        for _ in range(pairs):
            p99 = []
            for number in (0, clients):
                command = [sys.executable, "-m", "benchmarks.faults", "--trickle", url.rpartition(":")[2], str(number)]
                process = start_process(command, LOAD_CORE) if number else None
                time.sleep(3)
                p99.append(run_bench(url, "--rate", "200", "--seconds", "15")["latency_ms"]["p99"])
                if process:
                    process.kill()
                    process.wait()
            without.append(p99[0])
            with_clients.append(p99[1])
            ratios.append(p99[1] / p99[0])
    print(
        f"slow: {clients} clients that send one byte per second: p99 {statistics.median(without):.2f} ms without them, "
        f"{statistics.median(with_clients):.2f} ms with them; ratio {statistics.median(ratios):.2f}, median of {pairs} "
        f"pairs ({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
    )
    return bool(statistics.median(ratios) <= 1.5)


FAULTS: dict[str, tuple[Callable[[int], bool], int]] = {
    "kill": (kill_workers, 10),
    "swap": (swap_models, 100),
    "slow": (connect_slow_clients, 5),
}


def fault_name(text: str) -> str:
    """Parse the name of a fault, for argparse."""
    if text not in FAULTS:
        raise argparse.ArgumentTypeError(f"unknown fault {text}; choose from {', '.join(FAULTS)}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faults", nargs="*", type=fault_name, metavar="FAULT", help="kill, swap or slow [all of them]")
    parser.add_argument("--short", action="store_true", help="repeat each fault a tenth as often")
    parser.add_argument("--trickle", type=int, nargs=2, metavar=("PORT", "CLIENTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trickle:
        asyncio.run(run_slow_clients(*arguments.trickle))
    passed = True
    for name in arguments.faults or list(FAULTS):
        inject, times = FAULTS[name]
        passed = inject(max(1, times // 10) if arguments.short else times) and passed
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
