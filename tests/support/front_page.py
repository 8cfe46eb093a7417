"""The front page in a browser: what its tests do with it."""

import base64
import io
import json
import time
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

from tests.support.pictures import Grey
from tests.support.running import ROOT

NUMBER = ROOT / "docs/images/number.jpg"  # a drawn picture of 513912

EVIDENCE = [[(column - row) / 27 for column in range(28)] for row in range(28)]  # what a stub answers to /explain

# Counts what the page asks, keeps the last body that it sent, and can hold the answers back.
WATCH = """
  window.watched = {underWay: 0, most: 0, paths: [], body: null, delay: 0, gate: null};
  const {open, send} = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, path) {
    this.path = path;
    open.call(this, method, path);
  };
  XMLHttpRequest.prototype.send = function (body) {
    watched.paths.push(this.path);
    watched.body = body;
    const {gate} = watched;
    watched.most = Math.max(watched.most, ++watched.underWay);
    const {onload} = this;
    this.onload = async () => {
      await new Promise((done) => setTimeout(done, watched.delay));
      await gate;
      watched.underWay -= 1;
      onload();
    };
    for (const end of ["abort", "error"]) this.addEventListener(end, () => { watched.underWay -= 1; });
    send.call(this, body);
  };
"""


def expect_digit(page: Page, text: str) -> None:
    expect(page.locator("#digit")).to_have_text(text)


def expect_state(page: Page, text: str) -> None:
    expect(page.locator("#answer")).to_have_attribute("data-state", text)


def wait_for(page: Page, condition: str) -> None:
    """Wait for a condition in the page. Playwright's own way needs eval, which the page's policy forbids."""
    deadline = time.monotonic() + 15
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def settle(page: Page) -> None:
    """Wait until every change has its answer."""
    page.wait_for_timeout(250)  # the page waits for 120 ms before it asks
    wait_for(page, "document.getElementById('answer').ariaBusy === 'false'")


def choose(page: Page, data: bytes, name: str = "picture.png", kind: str = "image/png") -> None:
    page.locator("#choose").set_input_files({"name": name, "mimeType": kind, "buffer": data})


def sent(page: Page) -> bytes:
    """Return the last picture that the page sent."""
    script = "async () => Array.from(new Uint8Array(await watched.body.arrayBuffer()))"
    return bytes(page.evaluate(script))


def drop(page: Page, data: bytes, name: str, kind: str) -> None:
    page.evaluate(
        """([data, name, type]) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], name, {type}));
          const options = {dataTransfer, bubbles: true, cancelable: true};
          document.body.dispatchEvent(new DragEvent("dragover", options));
          document.body.dispatchEvent(new DragEvent("drop", options));
        }""",
        [base64.b64encode(data).decode(), name, kind],
    )


def pixels(page: Page, canvas: str) -> Grey:
    """Return the pixels of a canvas: (height, width, 4)."""
    data = page.evaluate("id => document.getElementById(id).toDataURL()", canvas)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGBA"))


def problem(status: int, title: str, detail: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the problem that a stub answers with."""
    body = {"type": "urn:stub", "title": title, "status": status, "detail": detail, "request_id": "stub-1"}
    return {
        "status": status,
        "body": json.dumps(body),
        "headers": {"Content-Type": "application/problem+json"} | (headers or {}),
    }


def only_has_status(faults: list[str], status: int) -> bool:
    """Return whether the only faults are answers with this status, which browsers log as console errors."""
    return bool(faults) and all(f"status of {status}" in fault for fault in faults)
