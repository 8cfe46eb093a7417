"""The app as a part of another program: it must not change that program."""

import subprocess
import sys

from tests.support.running import ROOT, clean_environment

MOUNT = """
import asyncio, gc, sys
from app.main import create_app
from app.settings import Settings

before = gc.get_threshold(), sys.getswitchinterval()

async def run_lifespan():
    to_app, from_app = asyncio.Queue(), asyncio.Queue()
    app = create_app(Settings())
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    task = asyncio.create_task(app(scope, to_app.get, from_app.put))
    for event, answer in (("startup", "startup.complete"), ("shutdown", "shutdown.complete")):
        await to_app.put({"type": f"lifespan.{event}"})
        assert (await from_app.get())["type"] == f"lifespan.{answer}"
        print((gc.get_threshold(), sys.getswitchinterval()) == before, gc.get_freeze_count())
    await task

asyncio.run(run_lifespan())
"""


def test_mounting_the_app_leaves_the_interpreter_alone() -> None:
    """Its settings belong to the host, and the host's objects must not be frozen."""
    done = subprocess.run(
        [sys.executable, "-c", MOUNT], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[:2] == ["True 0", "True 0"], done.stderr
