"""Compare digitserve with other model servers, all with the textbook CNN.

    python -m benchmarks.servers [--only NAME ...] [--rounds 3] [--seconds 5] [--output FOLDER]

Each server has core 0 for all its processes; wrk has core 1. All servers take turns, several times. Before a server is
measured, it must read many pictures correctly. The servers and how to start them are in peers/; those that are not
installed yet are installed first (about 7 GB). Writes RESULTS.md, results.svg and results.json. Needs wrk, Java 17 for
TorchServe, and MNIST's test split in DIGITS_DATA_DIR. Ctrl-C stops every server and keeps the results so far.
"""

import argparse
import json
import os
import platform
import re
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

from app.imaging.encode import to_png
from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.settings import released_model
from benchmarks import environments, load, report
from benchmarks.environments import InstallError
from benchmarks.load import Post
from benchmarks.peers import CONTENDERS, OURS, ROOT, TEXTBOOK, Contender
from benchmarks.report import CONNECTIONS
from benchmarks.results import Figure, Results, Run
from benchmarks.server_process import Server, ServerError, run_contender

VECTOR_INSTRUCTIONS = {  # names in /proc/cpuinfo, the fastest first
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "i8mm": "Arm I8MM",
    "asimddp": "Arm dot product",
}
CHECKED_PICTURES = 200  # that each server reads before it is measured

Images = NDArray[np.uint8]  # (N, 28, 28)


def load_digits() -> Images:
    """Load the pictures to send: MNIST's test split, shuffled, because its first half is harder than the second."""
    from benchmarks.data import DATA_DIR, required_data  # take seconds to import, which --help does not need
    from training.data import mnist

    with required_data():
        images = mnist.load(DATA_DIR, "test").images.numpy()
    return np.random.default_rng(0).permutation(images)


def make_posts(contender: Contender, images: Images) -> list[Post]:
    """Make one request per picture, in the form that this server accepts."""
    if contender.form == "tensor":
        return [load.tensor_post(contender.path, image) for image in images]
    files = [to_png(image) for image in images]
    if contender.form == "raw":
        return [load.raw_post(contender.path, file) for file in files]
    return [load.multipart_post(contender.path, contender.part, [file]) for file in files]


def read_digits(images: Images) -> dict[str, list[int]]:
    """Read the pictures with both models, without any server."""
    folders = {"textbook": TEXTBOOK, "released": released_model()}
    engines = {
        name: open_engine(model_folder.load(folder), "onnxruntime", "cpu", 1) for name, folder in folders.items()
    }
    return {name: engine(images).probabilities.argmax(axis=1).tolist() for name, engine in engines.items()}


def parse_digit(answer: bytes) -> int:
    """Find the digit in a server's answer: in an object, in a list of one object, or as the number of a tensor."""
    body: Any = json.loads(answer)
    if isinstance(body, list):
        (body,) = body
    return int(body["outputs"][0]["data"][0] if "outputs" in body else body["digit"])


def try_post(post: Post, port: int) -> str | None:
    """Send a request. Return what went wrong, or None if the answer is 200."""
    try:
        status, answer = post.send(port)
    except OSError as error:
        return str(error)
    return None if status == 200 else f"{status} {answer[:200].decode(errors='replace')!r}"


def check_digits(requests: Sequence[Post], expected: Sequence[int], port: int) -> None:
    """Let a server read pictures.

    Raises:
        ServerError: It reads another digit than the model does by itself.
    """
    for request, digit in zip(requests, expected, strict=True):
        status, answer = request.send(port)
        with suppress(ValueError, LookupError, TypeError):  # the answer is something else
            if status == 200 and parse_digit(answer) == digit:
                continue
        raise ServerError(f"answered {status} {answer[:200].decode(errors='replace')!r} instead of {digit}")


def measure_load(server: Server, requests: Sequence[Post], port: int, connections: int, seconds: float) -> Figure:
    """Measure a server under one load."""
    before = server.cpu_seconds()
    result = load.run_wrk(requests, port, connections, seconds)
    cpu_seconds = server.cpu_seconds() - before
    answered = result.requests - result.refused
    return Figure(
        connections,
        per_second=answered / result.seconds,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        cpu_us=cpu_seconds / max(1, answered) * 1e6,
        refused=result.refused,
        broken=result.broken,
        load_busy=result.busy,
    )


def measure_server(
    contender: Contender,
    images: Images,
    expected: Sequence[int] | None,
    seconds: float,
    warm_up: float,
    runs: list[Run],
    connections: Sequence[int],
) -> None:
    """Run a server from its start to its end, and record what is measured on the way."""
    requests = make_posts(contender, images)
    with run_contender(contender) as (server, port):
        run = Run(contender.name, server.wait_until_ready(partial(try_post, requests[0], port)))
        print(f"    {run.start_seconds:.1f} s to the first answer", flush=True)
        if expected:
            check_digits(requests[:CHECKED_PICTURES], expected[:CHECKED_PICTURES], port)
        runs.append(run)
        for count in connections:
            if warm_up:
                load.run_wrk(requests, port, count, warm_up)
            run.figures.append(measure_load(server, requests, port, count, seconds))
            print(f"    {run.figures[-1]}", flush=True)
            if not run.figures[-1].per_second:
                raise ServerError(f"answered nothing at {count} connections: {server.last_log_line()}")
        run.resident_mb = server.resident_megabytes()


def compare(
    contenders: Sequence[Contender],
    results: Results,
    seconds: float,
    warm_up: float,
    connections: Sequence[int] = CONNECTIONS,
) -> None:
    """Measure all servers in turn, for the number of rounds in ``results``, and add what is measured to it."""
    images = load_digits()
    expected = read_digits(images)
    total, started = results.rounds * len(contenders), time.monotonic()
    for turn in range(total):
        contender = contenders[turn % len(contenders)]
        left = f", {(time.monotonic() - started) / turn * (total - turn) / 60:.0f} min left" if turn else ""
        print(f"[{turn + 1}/{total}] {contender.name}, round {turn // len(contenders) + 1}{left}", flush=True)
        try:
            digits = expected.get(contender.answers)
            measure_server(contender, images, digits, seconds, warm_up, results.runs, connections)
        except (ServerError, InstallError, OSError, subprocess.CalledProcessError) as error:
            results.failures[contender.name] = str(error)
            print(f"    {error}", file=sys.stderr, flush=True)


def install(contenders: Sequence[Contender], results: Results) -> None:
    """Install the servers that are not installed yet, and record the version and size of each."""
    for contender in contenders:
        try:
            folder = environments.create_environment(contender.folder, contender.torch)
        except InstallError as error:
            results.failures[contender.name] = f"could not be installed: {error}"
            continue
        results.versions[contender.package] = environments.installed_version(folder, contender.package)
        results.installed_mb[contender.name] = environments.disk_megabytes(folder)
        if contender.folder == OURS.folder:  # an editable install: the environment only refers to the checkout
            for part in (ROOT / "app", released_model()):
                results.installed_mb[contender.name] += environments.disk_megabytes(part)
    if any(contender.torch for contender in contenders):
        folder = environments.create_environment("torch")
        results.versions["torch"] = environments.installed_version(folder, "torch")
        results.installed_mb["torch"] = environments.disk_megabytes(folder)


def select_contenders(names: Sequence[str] | None) -> list[Contender]:
    """Return the contenders with these names or folders, or all if no names are given."""
    known = {contender.name for contender in CONTENDERS} | {contender.folder for contender in CONTENDERS}
    if unknown := set(names or ()) - known:
        raise SystemExit(f"unknown servers: {', '.join(sorted(unknown))}; choose from {', '.join(sorted(known))}")
    return [it for it in CONTENDERS if not names or {it.name, it.folder} & set(names)]


def require_tools() -> None:
    """Exit early if something is missing that pip cannot install."""
    for tool, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is not installed: apt-get install {package}")
    if not {0, 1} <= os.sched_getaffinity(0):
        raise SystemExit("this needs two cores: 0 for the servers and 1 for the load")


def find_vector_instructions(cpuinfo: str) -> str:
    """Return what decides how fast the networks run: the best instructions that the processor has for int8."""
    flags = set(re.findall(r"^(?:flags|Features)\s*: (.*)", cpuinfo, re.MULTILINE)[0].split())
    return next((name for flag, name in VECTOR_INSTRUCTIONS.items() if flag in flags), "none that we know")


def describe_machine() -> dict[str, str]:
    """Describe where and when this runs."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Machine": f"{processor}, {os.cpu_count()} cores, Linux {platform.release()}",
        "Vector instructions": find_vector_instructions("\n".join(lines)),
        "Python": platform.python_version(),
        "Load average before the start": f"{os.getloadavg()[0]:.1f} (on a busy machine the figures are worthless)",
        "Models": f"{TEXTBOOK.name}; digitserve: {released_model().name}",
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.servers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"servers: {', '.join(contender.name for contender in CONTENDERS)}",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="measure only these servers, such as litserve or litserve-16"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is measured [3]")
    parser.add_argument("--seconds", type=float, default=5, help="seconds of load for each figure [5]")
    parser.add_argument("--warm-up", type=float, default=2, help="seconds of load before each figure [2]")
    parser.add_argument("--output", type=Path, help="folder for the results [benchmarks; with --only, build/bench]")
    arguments = parser.parse_args()
    require_tools()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops the servers properly, too
    contenders, results = select_contenders(arguments.only), Results(describe_machine(), arguments.rounds)
    os.sched_setaffinity(0, {int(load.LOAD_CORE)})
    interrupted = False
    try:
        install(contenders, results)
        compare(contenders, results, arguments.seconds, arguments.warm_up)
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted; every server has stopped", file=sys.stderr)
    if results.runs:
        spread = results.spread("constant", report.MAIN_CONNECTIONS)
        is_kept = not arguments.only and spread <= report.MAX_SPREAD
        output = arguments.output or (ROOT / "benchmarks" if is_kept else environments.BUILD)
        report.write(results, output)
        if spread > report.MAX_SPREAD:
            print(f"\nThe constant answer varied by {spread:.0%}: the machine was too busy for figures to keep.")
        print(f"\n{report.summary_table(results)}\n\nwrote {output}/RESULTS.md, results.svg and results.json")
    return 130 if interrupted else int(bool(results.failures))


if __name__ == "__main__":
    sys.exit(main())
