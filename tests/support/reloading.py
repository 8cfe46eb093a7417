"""Reloads the model of a running server, as an operator does: a link that moves, and SIGHUP."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx

from tests.support.running import Server

TIMEOUT_S = 10


def reload_model(server: Server) -> dict[str, Any]:
    """Send SIGHUP, wait for the result of the reload, and return /info. The result must differ from the last one."""
    before = httpx.get(f"{server.url}/info").json()["last_reload"]
    os.kill(server.pid, signal.SIGHUP)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        info: dict[str, Any] = httpx.get(f"{server.url}/info").json()
        if info["last_reload"] and (not before or info["last_reload"]["detail"] != before["detail"]):
            return info
        time.sleep(0.02)
    raise TimeoutError(server.log.read_text())


def point_link(link: Path, folder: Path) -> None:
    """Point a link to another folder in one step, as a release script does."""
    other = link.with_name("other")
    other.symlink_to(folder)
    other.replace(link)
