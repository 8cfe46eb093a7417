"""Reads folders with ``digitserve predict`` in the tests, through a proxy that misbehaves."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.cli.client import connect
from app.cli.image_files import find_image_files
from app.cli.results import Outcome
from tests.support.faulty_proxy import Action, ProxiedPost
from tests.support.pictures import Grey
from tests.support.running import ROOT, clean_environment

Digits = list[tuple[int, Grey]]


def start(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start the command line, and do not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "app", "predict", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(file: Path, count: int) -> None:
    """Wait until a file has so many lines."""
    deadline = time.monotonic() + 20
    while not file.exists() or file.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline, f"there are no {count} lines"
        time.sleep(0.005)


def read(url: str, paths: Sequence[Path], **options: Any) -> list[Outcome]:
    """Read files with the client in this process, with short waits between attempts."""
    outcomes: list[Outcome] = []

    async def run() -> None:
        async with connect(url, **{"first_wait_s": 0.01, **options}) as client:
            await client.read(find_image_files(paths), outcomes.extend)

    asyncio.run(run())
    return outcomes


def always(reply: Action) -> Callable[[ProxiedPost], Action]:
    return lambda post: reply


def second_batch(action: Action) -> Callable[[ProxiedPost], Action]:
    """Act on the batch of the second 64 files, which contains the file that is not a picture."""
    return lambda post: action if b"no picture" in post.body else None


def first(number: int, action: Action) -> Callable[[ProxiedPost], Action]:
    return lambda post: action if post.number < number else None
