"""Servers side by side: ours, and those that people would otherwise pick, all with the textbook CNN.

    python -m benchmarks.servers [--only NAME ...] [--rounds 3] [--seconds 5] [--output FOLDER]

Each has core 0 for itself with all its processes, and wrk has core 1. All run in turn, several times; before a server
is measured it must tell the right digit of many pictures. Who takes part, and how, is in peers/; what is not installed
yet is (about 7 GB the first time). Writes RESULTS.md, results.svg and results.json. Needs wrk, for TorchServe Java 17,
and MNIST's test split in DIGITS_DATA_DIR. Ctrl-C ends every server and keeps what was measured.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app import bundle
from app.engine import open_engine
from benchmarks import environments, load, report
from benchmarks.environments import InstallError
from benchmarks.load import Post
from benchmarks.peers import CONTENDERS, OURS, ROOT, TEXTBOOK, Contender
from benchmarks.report import CONNECTIONS
from benchmarks.results import Figure, Results, Run
from benchmarks.serving import Server, ServerError, started
from training import data

CHECKED = 200  # pictures that each server reads before it is measured

Images = NDArray[np.uint8]  # (N, 28, 28)


def digits() -> Images:
    """The pictures that are sent: MNIST's test split, shuffled, for its first half is harder to read than the rest."""
    images = data.load(Path(os.environ.get("DIGITS_DATA_DIR", "data")), "test").images.numpy()
    return np.random.default_rng(0).permutation(images)


def posts(contender: Contender, images: Images) -> list[Post]:
    """A request a picture, in the form that this server takes."""
    if contender.form == "tensor":
        return [load.tensor(contender.path, image) for image in images]
    files = [load.png(image) for image in images]
    if contender.form == "raw":
        return [load.raw(contender.path, file) for file in files]
    return [load.multipart(contender.path, contender.part, [file]) for file in files]


def read(images: Images) -> dict[str, list[int]]:
    """The digits that the two models see in the pictures, without any server."""
    folders = {"textbook": TEXTBOOK, "released": bundle.released()}
    engines = {name: open_engine(bundle.load(folder), "onnxruntime", "cpu", 1) for name, folder in folders.items()}
    return {name: engine(images).probabilities.argmax(axis=1).tolist() for name, engine in engines.items()}


def digit_of(answer: bytes) -> int:
    """The digit in a server's answer: under its name, also in a list of one answer, or the one number of a tensor."""
    told: Any = json.loads(answer)
    if isinstance(told, list):
        (told,) = told
    return int(told["outputs"][0]["data"][0] if "outputs" in told else told["digit"])


def obstacle(post: Post, port: int) -> str | None:
    """What a server says instead of an answer; nothing where it answers."""
    try:
        status, answer = post.send(port)
    except OSError as error:
        return str(error)
    return None if status == 200 else f"{status} {answer[:200].decode(errors='replace')!r}"


def check(requests: Sequence[Post], expected: Sequence[int], port: int) -> None:
    """Have a server read pictures.

    Raises:
        ServerError: it sees another digit in one than the model does by itself.
    """
    for request, digit in zip(requests, expected, strict=True):
        status, answer = request.send(port)
        with suppress(ValueError, LookupError, TypeError):  # whatever it answered instead
            if status == 200 and digit_of(answer) == digit:
                continue
        raise ServerError(f"answered {status} {answer[:200].decode(errors='replace')!r}, and not {digit}")


def figure(server: Server, requests: Sequence[Post], port: int, connections: int, seconds: float) -> Figure:
    """Put a server under one load."""
    before = server.cpu_seconds()
    seen = load.run(requests, port, connections, seconds)
    cpu_seconds = server.cpu_seconds() - before
    answered = seen.requests - seen.refused
    return Figure(
        connections,
        per_second=answered / seen.seconds,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        cpu_us=cpu_seconds / max(1, answered) * 1e6,
        refused=seen.refused,
        broken=seen.broken,
        load_busy=seen.busy,
    )


def measure(
    contender: Contender,
    images: Images,
    expected: Sequence[int] | None,
    seconds: float,
    warm_up: float,
    runs: list[Run],
) -> None:
    """Run a server from its start to its end, and note what is seen on the way."""
    requests = posts(contender, images)
    with started(contender) as (server, port):
        run = Run(contender.name, server.wait_until_ready(partial(obstacle, requests[0], port)))
        print(f"    {run.start_seconds:.1f} s to the first answer", flush=True)
        if expected:
            check(requests[:CHECKED], expected[:CHECKED], port)
        runs.append(run)
        for connections in CONNECTIONS:
            if warm_up:
                load.run(requests, port, connections, warm_up)
            run.figures.append(figure(server, requests, port, connections, seconds))
            print(f"    {run.figures[-1]}", flush=True)
            if not run.figures[-1].per_second:
                raise ServerError(f"answered nothing at {connections} connections: {server.last_words()}")
        run.resident_mb = server.resident_megabytes()


def compare(contenders: Sequence[Contender], results: Results, seconds: float, warm_up: float) -> None:
    """Measure all of them in turn, as often as there are rounds, and gather it."""
    images = digits()
    expected = read(images)
    total, began = results.rounds * len(contenders), time.monotonic()
    for turn in range(total):
        contender = contenders[turn % len(contenders)]
        left = f", {(time.monotonic() - began) / turn * (total - turn) / 60:.0f} min left" if turn else ""
        print(f"[{turn + 1}/{total}] {contender.name}, round {turn // len(contenders) + 1}{left}", flush=True)
        try:
            measure(contender, images, expected.get(contender.answers), seconds, warm_up, results.runs)
        except (ServerError, InstallError, OSError, subprocess.CalledProcessError) as error:
            results.failures[contender.name] = str(error)
            print(f"    {error}", file=sys.stderr, flush=True)


def install(contenders: Sequence[Contender], results: Results) -> None:
    """Install what is not there yet, and note what each is and takes of the disk."""
    for contender in contenders:
        try:
            home = environments.environment(contender.folder, contender.torch)
        except InstallError as error:
            results.failures[contender.name] = f"could not be installed: {error}"
            continue
        results.versions[contender.package] = environments.version(home, contender.package)
        results.installed_mb[contender.name] = environments.megabytes(home)
        if contender.folder == OURS.folder:  # installed from the checkout, which the environment only points to
            for part in (ROOT / "app", bundle.released()):
                results.installed_mb[contender.name] += environments.megabytes(part)
    if any(contender.torch for contender in contenders):
        home = environments.environment("torch")
        results.versions["torch"] = environments.version(home, "torch")
        results.installed_mb["torch"] = environments.megabytes(home)


def chosen(names: Sequence[str] | None) -> list[Contender]:
    """The contenders of these names, or of these folders; all where none is given."""
    known = {contender.name for contender in CONTENDERS} | {contender.folder for contender in CONTENDERS}
    if unknown := set(names or ()) - known:
        raise SystemExit(f"no server is called {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    return [it for it in CONTENDERS if not names or {it.name, it.folder} & set(names)]


def require_tools() -> None:
    """Stop early where something is missing that no Python environment brings."""
    for tool, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is not here: apt-get install {package}")
    if not {0, 1} <= os.sched_getaffinity(0):
        raise SystemExit("two cores are needed: 0 for the servers, and 1 for the load")


def machine() -> dict[str, str]:
    """Where and when this is."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Machine": f"{processor}, {os.cpu_count()} cores, Linux {platform.release()}",
        "Python": platform.python_version(),
        "Load before it began": f"{os.getloadavg()[0]:.1f}; a machine that is busy otherwise gives no figures worth it",
        "Models": f"{TEXTBOOK.name}; digitserve: {bundle.released().name}",
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.servers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"servers: {', '.join(contender.name for contender in CONTENDERS)}",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these servers alone, such as litserve or litserve-16"
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that all run in turn [3]")
    parser.add_argument("--seconds", type=float, default=5, help="of load for each figure [5]")
    parser.add_argument("--warm-up", type=float, default=2, help="seconds of load before each figure [2]")
    parser.add_argument("--output", type=Path, help="folder that is written to [benchmarks; with --only, build/bench]")
    arguments = parser.parse_args()
    require_tools()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this ends it in good order
    contenders, results = chosen(arguments.only), Results(machine(), arguments.rounds)
    os.sched_setaffinity(0, {int(load.CORE)})
    interrupted = False
    try:
        install(contenders, results)
        compare(contenders, results, arguments.seconds, arguments.warm_up)
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted; every server has ended", file=sys.stderr)
    if results.runs:
        output = arguments.output or (environments.BUILD if arguments.only else ROOT / "benchmarks")
        report.write(results, output)
        print(f"\n{report.summary(results)}\n\nwrote {output}/RESULTS.md, results.svg and results.json")
    return 130 if interrupted else int(bool(results.failures))


if __name__ == "__main__":
    sys.exit(main())
