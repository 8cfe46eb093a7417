"""Faults under load: workers that are killed, models that are swapped, clients that are slow.

    python -m benchmarks.faults [kill] [swap] [slow]

Kill: two workers, one of which is killed ten times; how many requests fail, and how soon there are two again. Swap: the
model setting moves a hundred times, one time in ten to a broken folder; whether a request is lost or an answer is of
two models. Slow: five hundred clients send a byte a second; how much longer a digit takes meanwhile.
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

from app import bundle
from benchmarks.pinned import LOAD_CORE, bench, serving, start

TEXTBOOK = Path(__file__).parent.parent / "models" / "textbook-1.0.0"
READY = "is ready on"  # what the log says of each process that serves


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> float:
    """Seconds until it is so."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() > began + seconds:
            raise TimeoutError
        time.sleep(0.01)
    return time.perf_counter() - began


def kill(times: int) -> bool:
    """Kill workers; whether each time no more failed than were in flight, and full service was back in two seconds."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serving("--workers", "2", core=None, log=log) as (url, pid):

            def workers() -> list[int]:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                return [
                    int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
                ]

            wait_for(lambda: log.read_text().count(READY) == 2)
            seconds = 3.0 * times + 2
            command = [sys.executable, "-m", "app", "bench", "--url", url, "--json", "--connections", "32"]
            load = start([*command, "--rate", "400", "--seconds", str(seconds)], None, subprocess.PIPE)
            time.sleep(2)
            back = []
            for number in range(times):
                ready = log.read_text().count(READY)
                os.kill(workers()[number % 2], signal.SIGKILL)
                back.append(wait_for(lambda: log.read_text().count(READY) > ready))  # noqa: B023  # waited for at once
                time.sleep(max(0, 3 - back[-1]))
            found = json.loads(load.communicate()[0])
    lost = sum(found["errors"].values())
    print(
        f"kill: {times} of two workers killed under {found['offered_per_second']:,.0f} requests/s: {lost} of "
        f"{found['requests']:,} requests failed ({found['errors']}); two workers again within "
        f"{statistics.median(back):.2f} s, {max(back):.2f} s at most"
    )
    return max(back) < 2 and lost <= 32 * times


def swap(times: int) -> bool:
    """Swap models; whether every request was answered, and every answer was of one model."""
    golden = bundle.load(bundle.released()).manifest.golden
    file = io.BytesIO()
    Image.fromarray(np.maximum(golden[0].image, golden[1].image.T)).save(file, "PNG")
    doubtful = file.getvalue()  # two models do not read it alike to six places
    answers: Counter[tuple[str, float]] = Counter()
    faults: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        link = Path(folder) / "model"
        link.symlink_to(bundle.released())
        url, pid = stack.enter_context(serving(DIGITS_MODEL=str(link)))
        broken = Path(shutil.copytree(TEXTBOOK, Path(folder) / "broken"))
        weights = next(broken.glob("*.onnx"))
        weights.write_bytes(weights.read_bytes()[:-10])

        async def ask(client: httpx.AsyncClient, stop: asyncio.Event) -> None:
            while not stop.is_set():
                try:
                    answer = await client.post(f"{url}/predict", files={"file": doubtful})
                    answer.raise_for_status()
                    body = answer.json()
                    answers[body["model"], body["confidence"]] += 1
                except httpx.HTTPError as error:
                    faults[type(error).__name__] += 1

        async def run() -> Counter[str]:
            outcomes: Counter[str] = Counter()
            stop = asyncio.Event()
            async with httpx.AsyncClient(timeout=30) as client:
                asking = [asyncio.create_task(ask(client, stop)) for _ in range(8)]
                for number in range(times):
                    target = broken if number % 10 == 9 else (TEXTBOOK, bundle.released())[number % 2]
                    other = link.with_name("other")
                    other.symlink_to(target)
                    other.replace(link)
                    metric = (await client.get(f"{url}/metrics")).text
                    os.kill(pid, signal.SIGHUP)
                    while looks((await client.get(f"{url}/metrics")).text) == looks(metric):
                        pass
                    outcomes[(await client.get(f"{url}/info")).json()["last_reload"]["outcome"]] += 1
                stop.set()
                await asyncio.gather(*asking)
            return outcomes

        outcomes = asyncio.run(run())
    print(
        f"swap: {times} looks for a model under load ({dict(outcomes)}): {answers.total():,} answers of "
        f"{len(answers)} kinds, lost: {dict(faults) or 'none'}"
    )
    return not faults and len(answers) == 2


def looks(metrics: str) -> list[str]:
    return sorted(line for line in metrics.splitlines() if line.startswith("digits_model_reloads_total"))


async def trickle(port: int, clients: int) -> None:
    """Be slow clients: each begins an upload and sends a byte a second, and comes again when it is cut off."""

    async def one() -> None:
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

    await asyncio.gather(*(one() for _ in range(clients)))


def slow(pairs: int, clients: int = 500) -> bool:
    """Have slow clients; whether the others' p99 stays within one and a half of what it is without them."""
    ratios, with_them, without = [], [], []
    with serving() as (url, _):
        for _ in range(pairs):
            p99 = []
            for number in (0, clients):
                command = [sys.executable, "-m", "benchmarks.faults", "--trickle", url.rpartition(":")[2], str(number)]
                process = start(command, LOAD_CORE) if number else None
                time.sleep(3)
                p99.append(bench(url, "--rate", "200", "--seconds", "15")["latency_ms"]["p99"])
                if process:
                    process.kill()
                    process.wait()
            without.append(p99[0])
            with_them.append(p99[1])
            ratios.append(p99[1] / p99[0])
    print(
        f"slow: {clients} clients at a byte a second: p99 {statistics.median(without):.2f} ms without, "
        f"{statistics.median(with_them):.2f} ms with; ratio {statistics.median(ratios):.2f}, median of {pairs} pairs "
        f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
    )
    return bool(statistics.median(ratios) <= 1.5)


RUNS: dict[str, tuple[Callable[[int], bool], int]] = {"kill": (kill, 10), "swap": (swap, 100), "slow": (slow, 5)}


def fault(name: str) -> str:
    if name not in RUNS:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(RUNS)}")
    return name


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("faults", nargs="*", type=fault, metavar="FAULT", help="kill, swap or slow [all]")
    parser.add_argument("--short", action="store_true", help="a tenth of it")
    parser.add_argument("--trickle", type=int, nargs=2, metavar=("PORT", "CLIENTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trickle:
        asyncio.run(trickle(*arguments.trickle))
    well = True
    for name in arguments.faults or list(RUNS):
        run, times = RUNS[name]
        well = run(max(1, times // 10) if arguments.short else times) and well
    raise SystemExit(not well)


if __name__ == "__main__":
    main()
