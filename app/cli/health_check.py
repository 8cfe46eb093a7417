"""The health check of the container: asks the service in it whether it is ready.

    python -m app.cli.health_check

It connects to where the service listens: the flags of the container's first process say it, or else the environment. It
uses no proxy, and imports little, because it runs every ten seconds.
"""

import argparse
import http.client
import os
import sys
from pathlib import Path

TIMEOUT_S = 2.0


def read_flags(command_line: Path) -> list[str]:
    """Return the flags of ``serve`` in the command line of a process, which may be an init that runs the service."""
    words = command_line.read_text(errors="replace").split("\0")
    return words[words.index("serve") + 1 :] if "serve" in words else []


def main(command_line: Path = Path("/proc/1/cmdline")) -> int:
    """Return 0 if the service is ready, otherwise 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default=os.environ.get("DIGITS_HOST") or "127.0.0.1")
    parser.add_argument("--port", default=os.environ.get("DIGITS_PORT") or "8000", type=int)
    settings, _ = parser.parse_known_args(read_flags(command_line))
    host = settings.host.removeprefix("[").removesuffix("]")
    connection = http.client.HTTPConnection(
        "127.0.0.1" if host in ("0.0.0.0", "::") else host, settings.port, timeout=TIMEOUT_S
    )
    try:
        connection.request("GET", "/readyz")
        return int(connection.getresponse().status != 200)
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
