"""POST /predict over a real socket: the three forms, every kind of file, and what it must refuse."""

import base64
import contextlib
import http.client
import io
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.little_memory import little_memory
from tests.support.pictures import FILES, Grey, encode, motion_photo, png
from tests.support.running import Server, running

Digits = list[tuple[int, Grey]]


def predict(server: Server, data: bytes) -> httpx.Response:
    return httpx.post(f"{server.url}/predict", files={"file": ("digit.png", data, "image/png")})


def test_the_three_forms_get_the_same_answer(server: Server, digits: Digits) -> None:
    """A file in a form, the image as the body, and base64 in JSON give the same digit and probabilities."""
    url = f"{server.url}/predict"
    for digit, image in digits:
        data = png(image)
        answers = [
            predict(server, data),
            httpx.post(url, content=data, headers={"Content-Type": "image/png"}),
            httpx.post(url, content=data, headers={"Content-Type": "application/octet-stream"}),
            httpx.post(url, json={"image": base64.b64encode(data).decode()}),
            httpx.post(url, json={"image": "data:image/png;base64," + base64.b64encode(data).decode()}),
        ]
        assert [answer.status_code for answer in answers] == [200] * 5
        first, *rest = [answer.json() for answer in answers]
        assert all(other == first for other in rest)
        assert first["digit"] == digit


def base64_in_json(data: bytes) -> bytes:
    return b'{"image": "%b"}' % data


FORM_TYPE = "multipart/form-data; boundary=xyz"
UNUSUAL: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a preamble": (FORM_TYPE, lambda file: b"preamble\r\n--xyz\r\n" + named_part(file) + b"\r\n--xyz--\r\nepilogue"),
    "a file without a name": (FORM_TYPE, lambda file: b"--xyz\r\n" + nameless_part(file) + b"\r\n--xyz--\r\n"),
    "JSON with a byte order mark": (
        "application/json",
        lambda file: b"\xef\xbb\xbf" + base64_in_json(base64.b64encode(file)),
    ),
    "URL-safe base64": ("application/json", lambda file: base64_in_json(base64.urlsafe_b64encode(file))),
    "unpadded base64": ("application/json", lambda file: base64_in_json(base64.b64encode(file).rstrip(b"="))),
    "DATA: in capitals": (
        "application/json",
        lambda file: base64_in_json(b"DATA:image/png;base64," + base64.b64encode(file)),
    ),
    "binary/octet-stream": ("binary/octet-stream", bytes),
}


def named_part(file: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + file


def nameless_part(file: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="picture"\r\nContent-Type: image/png\r\n\r\n' + file


@pytest.mark.parametrize("name", UNUSUAL)
def test_bodies_of_unusual_clients_are_read(server: Server, name: str, seven: Grey) -> None:
    """What the standards allow, or many clients send, is read."""
    content_type, make = UNUSUAL[name]
    padded = png(seven) + b"\0" * (1 + -len(png(seven)) % 3)  # so that its base64 has padding
    answer = httpx.post(f"{server.url}/predict", content=make(padded), headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json().get("digit")) == (200, 7), answer.text


def test_the_video_behind_a_photograph_does_not_matter(server: Server, seven: Grey) -> None:
    """A motion photo is a JPEG followed by megabytes of other data, in which any marker may occur."""
    assert predict(server, motion_photo(seven)).json()["digit"] == 7


def test_an_answer_is_complete(server: Server, seven: Grey) -> None:
    """It has the digit, the confidence, ten probabilities that sum to 1, whether to rely on it, the input and the
    model."""
    body = predict(server, png(seven)).json()
    assert list(body) == ["digit", "confidence", "probabilities", "accepted", "reason", "input", "model"]
    assert body["digit"] == 7
    assert body["confidence"] == max(body["probabilities"]) == body["probabilities"][7] > 0.9
    assert sum(body["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert (body["accepted"], body["reason"]) == (True, None)
    assert body["input"] == {
        "format": "PNG",
        "width": 28,
        "height": 28,
        "inverted": False,
        "normalized": False,
        "box": None,
    }
    assert body["model"] == "digitnet-1.7.0"


def test_an_answer_has_the_time_of_each_step(server: Server, seven: Grey) -> None:
    """Server-Timing has decode, queue and infer, in milliseconds."""
    header = predict(server, png(seven)).headers["Server-Timing"]
    assert re.fullmatch(r"decode;dur=\d+\.\d{3}, queue;dur=\d+\.\d{3}, infer;dur=\d+\.\d{3}", header)


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_read(server: Server, name: str, seven: Grey) -> None:
    """Each format and mode gives the digit, and the answer names the format."""
    body = predict(server, FILES[name](seven)).json()
    assert body["digit"] == 7
    assert body["input"]["format"] == name.split()[0].upper()


def test_a_picture_as_large_as_a_photograph_is_read(server: Server, seven: Grey) -> None:
    """A picture of three megapixels is normalised and read."""
    large = Image.new("RGB", (2000, 1500), "white")
    large.paste(Image.fromarray(255 - seven).resize((800, 800), Image.Resampling.BICUBIC), (500, 300))
    body = predict(server, encode(large, "JPEG")).json()
    assert (body["digit"], body["input"]["normalized"], body["input"]["inverted"]) == (7, True, True)
    assert (body["input"]["width"], body["input"]["height"]) == (2000, 1500)
    box = body["input"]["box"]
    assert 500 <= box["left"] < box["left"] + box["width"] <= 1300
    assert 300 <= box["top"] < box["top"] + box["height"] <= 1100


def test_a_preview_shows_what_the_network_saw(server: Server, seven: Grey) -> None:
    """On request, the answer has the 28x28 picture as a data: URI. Sent itself, it gets the same answer."""
    large = encode(Image.fromarray(255 - seven).resize((200, 300), Image.Resampling.BICUBIC))
    url = f"{server.url}/predict?preview=true"
    body = httpx.post(url, files={"file": large}).json()
    head, _, data = body["preview"].partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as seen:
        assert (seen.size, seen.mode) == ((28, 28), "L")
    again = httpx.post(url, json={"image": body["preview"]}).json()
    assert (again["preview"], again["probabilities"]) == (body["preview"], body["probabilities"])


@pytest.mark.parametrize(("mode", "normalized"), [("auto", False), ("always", True), ("never", False)])
def test_normalising_can_be_forced_and_disabled(server: Server, seven: Grey, mode: str, normalized: bool) -> None:
    """normalize=auto leaves an MNIST digit as it is, always normalises it, never only resizes it. The 7 stays a 7."""
    body = httpx.post(f"{server.url}/predict?normalize={mode}", files={"file": png(seven)}).json()
    assert (body["digit"], body["input"]["normalized"]) == (7, normalized)


def test_several_digits_are_not_read_as_one(server: Server, digits: Digits) -> None:
    """Two digits in one picture are not accepted, and the reason is several_digits."""
    pair = np.concatenate([digits[4][1], digits[15][1]], axis=1)
    large = Image.fromarray(255 - pair).resize((224, 112), Image.Resampling.BICUBIC)
    body = predict(server, encode(large)).json()
    assert (body["accepted"], body["reason"]) == (False, "several_digits")


@pytest.mark.parametrize("query", ["normalize=perhaps", "preview=7x"])
def test_an_invalid_query_is_refused(server: Server, seven: Grey, query: str) -> None:
    """It gets a 400 problem that names the parameter."""
    answer = httpx.post(f"{server.url}/predict?{query}", files={"file": png(seven)})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert query.partition("=")[0] in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "known"),
    [
        ("predict?normalise=never", ["normalize", "preview"]),
        ("predict?normalize=never&digit=3", ["normalize", "preview"]),
        ("explain?number=3", ["digit", "normalize"]),
        ("read?normalize=never", ["none"]),
        ("predict/batch?preview=", ["none"]),
    ],
)
def test_an_unknown_query_parameter_is_refused(server: Server, seven: Grey, query: str, known: list[str]) -> None:
    """It gets a 400 problem that names the parameters of the path, and does not repeat what was sent."""
    answer = httpx.post(f"{server.url}/{query}", files={"file": png(seven)})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert all(name in answer.json()["detail"] for name in known)
    assert "normalise" not in answer.text


def test_a_blank_picture_gets_an_answer(server: Server) -> None:
    """It gets a 200 without a digit, and with the reason."""
    answer = predict(server, encode(Image.new("L", (28, 28), 255)))
    assert answer.status_code == 200
    assert (answer.json()["digit"], answer.json()["probabilities"]) == (None, [])
    assert (answer.json()["accepted"], answer.json()["reason"]) == (False, "blank")


def huge_header() -> bytes:
    image = bytearray(encode(Image.new("L", (28, 28))))
    image[16:24] = (50_000).to_bytes(4, "big") * 2
    return bytes(image)


SEVEN_BYTES = b"7777777"
BAD: dict[str, tuple[dict[str, object], int, str]] = {
    "no body": ({}, 400, "malformed-request"),
    "an empty raw body": ({"content": b"", "headers": {"Content-Type": "image/png"}}, 400, "malformed-request"),
    "two files": ({"files": [("file", SEVEN_BYTES), ("file", SEVEN_BYTES)]}, 400, "malformed-request"),
    "a form without a file": ({"files": {"file": (None, b"7")}}, 400, "malformed-request"),
    "an empty file": ({"files": {"file": ("a.png", b"")}}, 400, "malformed-request"),
    "truncated JSON": (
        {"content": b'{"image": "', "headers": {"Content-Type": "application/json"}},
        400,
        "malformed-request",
    ),
    "text named .png": ({"files": {"file": ("a.png", b"seven", "image/png")}}, 415, "unsupported-media"),
    "PDF named .png": ({"files": {"file": ("a.png", b"%PDF-1.7 ...", "image/png")}}, 415, "unsupported-media"),
    "what curl -d sends": ({"data": {"digit": "7"}}, 415, "unsupported-media"),
    "text/plain": ({"content": b"7", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported-media"),
    "a truncated PNG": ({"files": {"file": encode(Image.linear_gradient("L"))[:150]}}, 422, "broken-image"),
    "a PNG of 50,000 x 50,000": ({"files": {"file": huge_header()}}, 422, "broken-image"),
    "20 MB of zeros in a form": ({"files": {"file": bytes(20_000_000)}}, 413, "body-too-large"),
    "20 MB of zeros": ({"content": bytes(20_000_000), "headers": {"Content-Type": "image/png"}}, 413, "body-too-large"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_its_problem_and_the_next_good_request_is_served(server: Server, name: str, seven: Grey) -> None:
    """Status and type say what was wrong, nothing leaks, and the same client gets its next answer."""
    request, status, slug = BAD[name]
    with httpx.Client(base_url=server.url) as client:
        answer = client.post("/predict", **request)  # type: ignore[arg-type]  # a table of keyword arguments
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        problem = answer.json()
        assert list(problem) == ["type", "title", "status", "detail", "request_id"]
        assert (problem["type"], problem["status"]) == (f"urn:problem-type:digitserve:{slug}", status)
        assert problem["request_id"] == answer.headers["X-Request-ID"]
        assert "Traceback" not in answer.text
        assert "/app/" not in answer.text
        assert client.post("/predict", files={"file": png(seven)}).json()["digit"] == 7


def test_a_body_without_a_length_is_stopped_at_the_limit(server: Server) -> None:
    """A chunked body gets a 413 at the limit, long before the client has sent all of it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "image/png")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    sent = 0
    with contextlib.closing(connection), contextlib.suppress(OSError):  # the server closes the connection
        while sent < 200_000_000:
            connection.send(b"10000\r\n" + bytes(65_536) + b"\r\n")
            sent += 65_536
    assert sent < 200_000_000


def test_an_interrupted_upload_does_no_harm(server: Server, seven: Grey) -> None:
    """It leaves no traceback in the log, and the next upload is served."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 999\r\n\r\nhalf"
        )
    time.sleep(0.2)
    assert predict(server, png(seven)).json()["digit"] == 7
    assert "Traceback" not in server.log.read_text()


def test_the_limits_can_be_set(seven: Grey) -> None:
    """DIGITS_MAX_BODY_BYTES and DIGITS_MAX_PIXELS limit a request."""
    with running(DIGITS_MAX_BODY_BYTES="2000", DIGITS_MAX_PIXELS="784") as server:
        assert predict(server, png(seven)).status_code == 200
        assert predict(server, bytes(2001)).status_code == 413
        assert predict(server, encode(Image.new("L", (28, 29)))).json()["type"].endswith("image-size")


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [("PNG", "RGBA", {}), ("WEBP", "RGBA", {"lossless": True, "method": 0}), ("JPEG", "RGB", {"progressive": True})],
)
def test_too_little_memory_for_a_picture_is_not_its_fault(kind: str, mode: str, options: dict[str, Any]) -> None:
    """It gets a 503 and not a 422, although decoders report a lack of memory as a damaged file. The same file is read
    when there is memory again, and a damaged one still gets its 422."""
    large = encode(Image.new(mode, (4000, 4000), "white"), kind, **options)
    with running(MALLOC_ARENA_MAX="1") as server:
        assert predict(server, encode(Image.new("L", (400, 300), 255))).status_code == 200  # starts the thread
        with little_memory(server.pid, 20_000_000):
            answer = predict(server, large)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
        assert predict(server, large).json()["reason"] == "blank"
        assert predict(server, large[: len(large) // 2]).status_code == 422
