"""POST /read over a real socket."""

import re

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.pictures import Grey, encode, png
from tests.support.running import Server
from tests.app.recognition.test_number import page

Digits = list[tuple[int, Grey]]


def read(server: Server, data: bytes) -> httpx.Response:
    return httpx.post(f"{server.url}/read", files={"file": data})


def test_a_number_is_read_with_places_and_confidence(server: Server, digits: Digits) -> None:
    """The whole answer: text, confidence, lines, digits with their boxes, what was sent, which model."""
    answer = read(server, png(page([[image for _, image in digits[:10:2]], [image for _, image in digits[10::2]]])))
    body = answer.json()
    assert list(body) == ["text", "confidence", "accepted", "reason", "lines", "input", "model"]
    assert body["text"] == "01234\n56789"
    assert (body["accepted"], body["reason"]) == (True, None)
    assert [[digit["digit"] for digit in line["digits"]] for line in body["lines"]] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
    ]
    for line in body["lines"]:
        lefts = [digit["box"]["left"] for digit in line["digits"]]
        assert lefts == sorted(lefts)
        assert all(digit["accepted"] and digit["reason"] is None for digit in line["digits"])
    assert re.fullmatch(r"decode;dur=[\d.]+, infer;dur=[\d.]+", answer.headers["Server-Timing"])


def test_the_three_forms_are_taken(server: Server, digits: Digits) -> None:
    """As /predict takes them."""
    data = png(page([[image for _, image in digits[:6:2]]]))
    raw = httpx.post(f"{server.url}/read", content=data, headers={"Content-Type": "image/png"}).json()
    assert raw == read(server, data).json()
    assert raw["text"] == "012"


def test_a_page_without_ink_is_an_answer(server: Server) -> None:
    body = read(server, encode(Image.new("L", (400, 200), 240))).json()
    assert (body["text"], body["confidence"], body["lines"], body["reason"]) == ("", None, [], "blank")


@pytest.mark.parametrize(
    ("data", "status", "slug"),
    [(b"", 400, "malformed-request"), (b"seven", 415, "unsupported-media"), (b"\xff\xd8\xff", 422, "broken-image")],
)
def test_what_cannot_be_read_gets_its_problem(server: Server, data: bytes, status: int, slug: str) -> None:
    """The same problems as /predict has."""
    answer = read(server, data)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, slug)


def test_a_page_full_of_ink_is_refused_and_the_next_is_read(server: Server, digits: Digits) -> None:
    """422 with what to do, soon, whatever is sent."""
    generator = np.random.default_rng(0)
    full = np.full((1200, 1200), 220, np.uint8)
    for top in range(20, 1140, 80):
        for left in range(10, 1150, 60):
            full[top : top + 60, left : left + 50][generator.random((60, 50)) < 0.6] = 40
    answer = read(server, png(full))
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (422, "crowded-picture")
    assert read(server, png(page([[digits[14][1]]]))).json()["text"] == "7"
