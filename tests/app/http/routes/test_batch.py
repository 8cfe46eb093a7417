"""POST /predict/batch: an answer for each file, in order, the same as from /predict."""

import httpx

from tests.support.pictures import Grey, png
from tests.support.running import Server, running

Digits = list[tuple[int, Grey]]


def send(server: Server, files: list[bytes]) -> httpx.Response:
    return httpx.post(f"{server.url}/predict/batch", files=[("file", (f"{n}.png", f)) for n, f in enumerate(files)])


def test_each_answer_equals_that_of_a_single_request(server: Server, digits: Digits) -> None:
    """Twenty digits, white on black and black on white: each answer is what /predict gives for the picture."""
    files = [png(image) for _, image in digits] + [png(255 - image) for _, image in digits]
    predictions = send(server, files).raise_for_status().json()["predictions"]
    assert [prediction["digit"] for prediction in predictions] == [digit for digit, _ in digits] * 2
    for file, prediction in zip(files, predictions, strict=True):
        assert prediction == httpx.post(f"{server.url}/predict", files={"file": file}).json()


def test_a_bad_picture_gets_its_problem_in_its_own_place(server: Server, seven: Grey) -> None:
    """Broken, empty, unknown and blank files each get their own answer, and the good files get theirs."""
    blank = png(0 * seven)
    answer = send(server, [png(seven), b"\x89PNG\r\n\x1a\n broken", b"", b"text", blank, png(seven)])
    predictions = answer.raise_for_status().json()["predictions"]
    assert [p.get("digit", p.get("status")) for p in predictions] == [7, 422, 400, 415, None, 7]
    assert predictions[4]["reason"] == "blank"
    assert predictions[1]["type"] == "urn:problem-type:digitserve:broken-image"
    assert predictions[1]["request_id"] == answer.headers["X-Request-ID"]


def test_a_batch_has_its_own_limits(seven: Grey) -> None:
    """Too many files get a 400, and too many bytes a 413. A form without files gets a 400, and another type a 415."""
    with running("--max-batch", "3", "--max-batch-bytes", "5000") as server:
        assert send(server, [png(seven)] * 3).status_code == 200
        assert send(server, [png(seven)] * 4).status_code == 400
        assert send(server, [bytes(6000)]).status_code == 413
        assert httpx.post(f"{server.url}/predict/batch", files={"note": (None, "x")}).status_code == 400
        assert httpx.post(f"{server.url}/predict/batch", json={}).status_code == 415


def test_a_large_batch_is_complete(server: Server, digits: Digits) -> None:
    """A thousand pictures in one request get a thousand answers in order."""
    pictures = [digits[n % 20] for n in range(1000)]
    predictions = send(server, [png(image) for _, image in pictures]).raise_for_status().json()["predictions"]
    assert [prediction["digit"] for prediction in predictions] == [digit for digit, _ in pictures]
