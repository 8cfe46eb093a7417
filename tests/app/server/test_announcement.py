"""What the service says when it is ready. tests/app/cli/test_serve.py has it on a real terminal."""

import io
import sys

import pytest

from app.server.announcement import announce
from app.server.listeners import open_listeners


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1", "localhost"), ("0.0.0.0", "localhost"), ("127.0.0.2", "127.0.0.2")]
)
def test_the_frame_has_an_address_that_works_here(host: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is localhost only if that reaches the service."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with open_listeners(host, 0) as listeners:
        port = listeners[0].getsockname()[1]
        assert f"│ digitserve is ready: http://{name}:{port}/ │" in announce(listeners).splitlines()


def test_the_log_has_the_address_and_the_number_of_workers() -> None:
    """Programs look for this line."""
    with open_listeners("127.0.0.1", 0) as listeners:
        url = f"http://127.0.0.1:{listeners[0].getsockname()[1]}"
        assert announce(listeners) == f"running on {url} (Ctrl-C stops it)"
        assert announce(listeners, 3) == f"running on {url} with 3 workers"
