"""POST /read over a real socket."""

import re

import httpx
import pytest
from PIL import Image

from tests.support.pictures import Grey, encode, make_combs, make_page, png
from tests.support.running import Server

Digits = list[tuple[int, Grey]]


def read(server: Server, data: bytes) -> httpx.Response:
    return httpx.post(f"{server.url}/read", files={"file": data}, timeout=20)


def test_an_answer_is_complete(server: Server, digits: Digits) -> None:
    """It has the text, the confidence, the lines, each digit with its box, the input and the model."""
    answer = read(
        server, png(make_page([[image for _, image in digits[:10:2]], [image for _, image in digits[10::2]]]))
    )
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


def test_the_image_can_be_the_body(server: Server, digits: Digits) -> None:
    """A raw image gets the same answer as a file in a form."""
    data = png(make_page([[image for _, image in digits[:6:2]]]))
    raw = httpx.post(f"{server.url}/read", content=data, headers={"Content-Type": "image/png"}).json()
    assert raw == read(server, data).json()
    assert raw["text"] == "012"


def test_a_page_without_ink_gets_an_answer(server: Server) -> None:
    """It gets a 200 without digits, and with the reason."""
    body = read(server, encode(Image.new("L", (400, 200), 240))).json()
    assert (body["text"], body["confidence"], body["lines"], body["reason"]) == ("", None, [], "blank")


@pytest.mark.parametrize(
    ("data", "status", "slug"),
    [(b"", 400, "malformed-request"), (b"seven", 415, "unsupported-media"), (b"\xff\xd8\xff", 422, "broken-image")],
)
def test_bad_input_gets_its_problem(server: Server, data: bytes, status: int, slug: str) -> None:
    """The problems are those of /predict."""
    answer = read(server, data)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, slug)


def test_a_page_full_of_ink_is_refused_and_the_next_is_read(server: Server, digits: Digits) -> None:
    """A page with far too much ink gets a 422 that says what to do."""
    answer = read(server, png(make_combs()))
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (422, "crowded-picture")
    assert read(server, png(make_page([[digits[14][1]]]))).json()["text"] == "7"
