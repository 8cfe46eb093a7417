"""Where a network should run: in the event loop, or in a thread beside it.

Sixteen callers ask for one picture each, again and again, as connections of a busy server do, while a clock on the same
event loop ticks every millisecond. Told are the processor's time for a picture, the caller's wait, and by how much the
clock was late: what everybody else on the loop would have waited. Nothing of HTTP is in it.
"""

import argparse
import asyncio
import time
from pathlib import Path

import numpy as np

from app import bundle
from app.engine import Engine, open_engine
from app.inference import Inference
from app.normalize import Grey

CALLERS = 16


async def measure(engine: Engine, images: list[Grey], in_loop: bool, seconds: float) -> tuple[float, float, float]:
    """Microseconds of processor a picture; the median wait, and the 99th percentile of the clock's lateness, in ms."""
    waits: list[float] = []
    late: list[float] = []
    end = time.perf_counter() + seconds

    async def call(inference: Inference, number: int) -> None:
        while (started := time.perf_counter()) < end:
            await inference.one(images[number % len(images)])
            waits.append(time.perf_counter() - started)
            number += CALLERS

    async def tick() -> None:
        while (started := time.perf_counter()) < end:
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - started - 0.001)

    async with Inference(engine, in_loop=in_loop) as inference:
        computed = time.process_time()
        await asyncio.gather(tick(), *(call(inference, number) for number in range(CALLERS)))
        computed = time.process_time() - computed
    return (
        computed / len(waits) * 1e6,
        float(np.median(waits)) * 1e3,
        float(np.quantile(late, 0.99)) * 1e3,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.placement", description=__doc__)
    parser.add_argument("models", type=Path, nargs="*", default=[bundle.released()], help="model folders")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement [%(default)g]")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is told [%(default)s]")
    arguments = parser.parse_args()
    print(f"{'network':24}{'M multiply-adds':>16}{'runs in':>10}{'us/picture':>12}{'wait ms':>9}{'others wait ms':>16}")
    for folder in arguments.models:
        model = bundle.load(folder)
        images = [golden.image for golden in model.manifest.golden]
        for name, network in model.manifest.networks.items():
            engine = open_engine(model, "onnxruntime", "cpu", 1, name)
            found: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
            for _ in range(arguments.rounds):
                for in_loop, rounds in found.items():
                    rounds.append(asyncio.run(measure(engine, images, in_loop, arguments.seconds)))
            for in_loop, rounds in found.items():
                cost, wait, late = np.median(np.array(rounds), axis=0)
                place = "the loop" if in_loop else "a thread"
                title = f"{model.manifest.name} {name}"
                print(f"{title:24}{network.macs / 1e6:16.1f}{place:>10}{cost:12.1f}{wait:9.2f}{late:16.2f}")


if __name__ == "__main__":
    main()
