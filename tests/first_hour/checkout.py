"""A fresh clone of this repository, the commands that a new user types in it, and the service of ``make serve``."""

import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.support.console_script import write_console_script
from tests.support.ports import free_port
from tests.support.running import ROOT, clean_environment, wait_until_ready


@dataclass
class Checkout:
    """A clone, and its service while that runs."""

    folder: Path
    port: int
    service: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What ``make serve`` printed."""
        return self.folder.with_name("log")

    def start(self) -> None:
        """Run ``make serve`` until the service is ready."""
        with self.log.open("wb") as output:
            self.service = subprocess.Popen(
                ["make", "serve"], cwd=self.folder, env=self._environment(), stdout=output, stderr=subprocess.STDOUT
            )
        assert wait_until_ready(self.service, self.log) == self.url

    def stop(self) -> None:
        """Send SIGTERM, which make hands on, and wait for the end."""
        if self.service:
            self.service.terminate()
            self.service.wait(timeout=20)
            self.service = None

    def run(self, *command: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone until it ends."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(),
            stdin=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        environment = clean_environment(DIGITS_PORT=str(self.port), DIGITS_DRAIN_MS="0", COLUMNS="200")
        del environment["PYTHONPATH"]  # it names the checkout of the tests
        return environment


@contextmanager
def clone(parent: Path) -> Iterator[Checkout]:
    """Clone the repository into a folder and install it. At the end, stop the service if it runs."""
    checkout = Checkout(parent / "digitserve", free_port())
    if (ROOT / ".git").exists():
        trust = ["-c", "safe.directory=*"]  # the checkout may belong to another user
        subprocess.run(["git", *trust, "clone", "-q", str(ROOT), str(checkout.folder)], check=True, capture_output=True)
    else:  # an archive of the repository
        shutil.copytree(ROOT, checkout.folder, ignore=shutil.ignore_patterns(".venv", "runs", "data"))
    install(checkout.folder)
    try:
        yield checkout
    finally:
        checkout.stop()


def install(folder: Path) -> None:
    """Make a virtual environment as ``make serve`` does, without its download.

    It has the code of the clone, and everything else from the environment of the tests.
    """
    environment = folder / ".venv"
    venv.create(environment, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "clone.pth").write_text(f"{folder}\n{sysconfig.get_path('purelib')}\n")
    write_console_script(environment / "bin" / "digitserve", environment / "bin" / "python")
    (environment / ".base").touch()  # tells make that the dependencies are installed
