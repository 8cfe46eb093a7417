"""A system without POSIX, such as Windows, simulated by taking away from Python what does not exist there."""

import os
from pathlib import Path

from tests.support.running import ROOT

SITECUSTOMIZE = """
import os, signal, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {"fcntl", "termios", "resource", "pwd", "grp", "uvloop", "pty", "tty"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for name in (
    "SIGHUP", "SIGALRM", "SIGKILL", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE",
    "pthread_sigmask", "setitimer", "ITIMER_REAL",
):
    delattr(signal, name)
for name in (
    "fork", "sched_getaffinity", "setpriority", "getpriority", "PRIO_PROCESS", "getuid", "geteuid", "O_NOCTTY",
    "O_NONBLOCK", "set_blocking", "getloadavg",
):
    delattr(os, name)
"""


def variables(folder: Path) -> dict[str, str]:
    """Return the variables with which Python runs on such a system. They name a file in the folder, written here."""
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
