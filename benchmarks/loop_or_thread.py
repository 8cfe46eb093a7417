"""Compare running a network in the event loop with running it in a thread beside the loop.

Sixteen callers each ask for one picture, again and again, as connections of a busy server do, while a clock on the same
event loop ticks every millisecond. Prints the CPU time per picture, how long callers wait, and how late the clock is:
that is how long everybody else on the loop would wait. No HTTP is involved.
"""

import argparse
import asyncio
import time
from pathlib import Path

import numpy as np

from app.imaging.digit_image import Grey
from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.inference.scheduler import Scheduler
from app.settings import released_model

CALLERS = 16


async def measure(engine: Engine, images: list[Grey], in_loop: bool, seconds: float) -> tuple[float, float, float]:
    """Return µs of CPU per picture, the median wait in ms, and the 99th percentile of the clock's lateness in ms."""
    waits: list[float] = []
    delays: list[float] = []
    end = time.perf_counter() + seconds

    async def call(scheduler: Scheduler, number: int) -> None:
        while (started := time.perf_counter()) < end:
            await scheduler.read_one(images[number % len(images)])
            waits.append(time.perf_counter() - started)
            number += CALLERS

    async def tick() -> None:
        while (started := time.perf_counter()) < end:
            await asyncio.sleep(0.001)
            delays.append(time.perf_counter() - started - 0.001)

    async with Scheduler(engine, in_loop=in_loop) as scheduler:
        cpu_started = time.process_time()
        await asyncio.gather(tick(), *(call(scheduler, number) for number in range(CALLERS)))
        cpu = time.process_time() - cpu_started
    return (
        cpu / len(waits) * 1e6,
        float(np.median(waits)) * 1e3,
        float(np.quantile(delays, 0.99)) * 1e3,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop_or_thread", description=__doc__)
    parser.add_argument(
        "models", type=Path, nargs="*", default=[released_model()], help="model folders [the released one]"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of each measurement [%(default)g]")
    parser.add_argument("--rounds", type=int, default=3, help="measurements per median [%(default)s]")
    arguments = parser.parse_args()
    print(f"{'network':24}{'M multiply-adds':>16}{'runs in':>10}{'µs/picture':>12}{'wait ms':>9}{'others wait ms':>16}")
    for folder in arguments.models:
        model = model_folder.load(folder)
        images = [golden.image for golden in model.manifest.golden]
        for name, network in model.manifest.networks.items():
            engine = open_engine(model, "onnxruntime", "cpu", 1, name)
            results: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
            for _ in range(arguments.rounds):
                for in_loop, rounds in results.items():
                    rounds.append(asyncio.run(measure(engine, images, in_loop, arguments.seconds)))
            for in_loop, rounds in results.items():
                cost, wait, late = np.median(np.array(rounds), axis=0)
                place = "the loop" if in_loop else "a thread"
                title = f"{model.manifest.name} {name}"
                print(f"{title:24}{network.macs / 1e6:16.1f}{place:>10}{cost:12.1f}{wait:9.2f}{late:16.2f}")


if __name__ == "__main__":
    main()
