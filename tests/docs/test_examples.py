"""The recipes in docs/examples/ beyond what the page prints: retries, and a web page in a real browser.

test_commands.py runs the commands on the page.
"""

import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from tests.support.browser import browsing, needs_chromium
from tests.support.faulty_proxy import Action, Cut, ProxiedPost, Reply, run_proxy
from tests.support.running import ROOT, Server, clean_environment, running

EXAMPLES = ROOT / "docs" / "examples"


def test_the_batch_job_tries_again(server: Server) -> None:
    """A service that is busy first, and then breaks the connection, still reads everything."""

    def fail_twice(post: ProxiedPost) -> Action:
        actions: list[Action] = [Reply(503, {"Retry-After": "0"}), Cut(), None]
        return actions[post.number]

    with run_proxy(server, fail_twice) as proxy:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(EXAMPLES / "batch.py"), str(EXAMPLES / "digits"), proxy.url],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stdout == "".join(f"{digit}.png: {digit}\n" for digit in range(10))
    assert done.stderr.count("trying again in ") == 2
    assert len(proxy.posts) == 3


@contextmanager
def serve_examples() -> Iterator[str]:
    """Serve docs/examples/ as another server would, and yield its origin."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(EXAMPLES))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever).start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


@needs_chromium
@pytest.mark.browser
def test_the_page_reads_pictures_from_another_origin() -> None:
    """It shows an accepted digit, asks the visitor to look at a doubtful picture, and shows errors."""
    with serve_examples() as origin, running("--cors-origins", origin) as service, browsing() as (page, faults):
        page.goto(f"{origin}/page.html?service={service.url}")
        for picture, text in (
            ((EXAMPLES / "digits" / "7.png").read_bytes(), "This is a 7."),
            ((EXAMPLES / "form.png").read_bytes(), "Please look yourself: several_digits."),
            (b"no picture", "That did not work: The file is not an image"),
        ):
            page.set_input_files("#picture", {"name": "a.png", "mimeType": "image/png", "buffer": picture})
            expect(page.get_by_role("status")).to_contain_text(text)
    (fault,) = faults
    assert "415" in fault  # the browser logs the answer to the file that is not a picture
