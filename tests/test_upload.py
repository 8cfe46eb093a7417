"""Bodies: three forms to the same bytes, however they arrive, and each malformed one to its error."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BodyTooLargeError, MalformedRequestError, UnsupportedMediaError
from app.upload import MAX_PARTS, read_image

IMAGE = bytes(range(256)) * 3 + b"\r\n--bound\r\n--boundary"  # with what looks like the end of a part in it
LIMIT = 10_000


def take(content_type: str | None, body: bytes, size: int = 100, length: str | None = None) -> bytes:
    """Send a body in chunks of ``size`` bytes."""

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return asyncio.run(read_image(content_type, length, stream(), LIMIT))


def part(content: bytes, disposition: str = 'form-data; name="file"; filename="a.png"', boundary: str = "xyz") -> bytes:
    head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: image/png\r\n\r\n"
    return head.encode() + content + b"\r\n"


def form(*parts: bytes, boundary: str = "xyz") -> tuple[str, bytes]:
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


@given(st.binary(min_size=1, max_size=2000), st.integers(1, 500))
def test_the_three_forms_give_the_same_bytes_in_any_chunks(image: bytes, size: int) -> None:
    """Form, raw and JSON are the same image, whatever its bytes and wherever the network cuts them."""
    boundary = "a-boundary-that-random-bytes-do-not-hold"
    text = base64.b64encode(image).decode()
    assert take(*form(part(image, boundary=boundary), boundary=boundary), size) == image
    assert take("image/png", image, size) == image
    assert take("application/json", json.dumps({"image": text}).encode(), size) == image


def test_what_looks_like_a_boundary_is_no_boundary() -> None:
    """Only the whole boundary ends a part."""
    assert take(*form(part(IMAGE, boundary="boundary-x"), boundary="boundary-x"), 7) == IMAGE


@pytest.mark.parametrize("content_type", ["image/png", "image/whatever", "application/octet-stream", None, ""])
def test_the_image_itself_may_be_the_body(content_type: str | None) -> None:
    """Any image type, octet-stream or no type at all."""
    assert take(content_type, IMAGE) == IMAGE


@pytest.mark.parametrize("text", ["{}", "data:image/png;base64,{}", "data:;base64,{}", "{}\n", " {}"])
def test_json_takes_base64_and_data_uris(text: str) -> None:
    """Bare or as a data: URI, with the line breaks that `base64` makes."""
    encoded = base64.encodebytes(IMAGE).decode()
    assert take("application/json; charset=utf-8", json.dumps({"image": text.format(encoded)}).encode()) == IMAGE


def test_fields_that_are_no_files_are_passed_over() -> None:
    """A form may have other fields, and a file input that was left empty."""
    note = part(b"hello", 'form-data; name="note"')
    empty = part(b"", 'form-data; name="other"; filename=""')
    assert take(*form(note, part(IMAGE), empty)) == IMAGE


def test_the_file_may_have_any_field_name_and_a_name_in_any_script() -> None:
    """`file` is what is documented; what counts is that it is a file."""
    assert take(*form(part(IMAGE, 'form-data; name="image"; filename="x"'))) == IMAGE
    assert take(*form(part(IMAGE, "form-data; name=\"f\"; filename*=UTF-8''%E4%B8%83.png"))) == IMAGE


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("image/png", b"", "The body is empty"),
        (None, b"", "The body is empty"),
        ("application/json", b"", "The body is empty"),
        ("application/json", b"{", "Invalid JSON"),
        ("application/json", b"[]", "must be"),
        ("application/json", b"\xff\xfe\x00", "must be"),
        ("application/json", b'{"image": 7}', "image: Input should be a valid string"),
        ("application/json", b'{"picture": "AAAA"}', "image: Field required"),
        ("application/json", b'{"image": "AAAA", "digit": 7}', "digit: Extra inputs"),
        ("application/json", b'{"image": ""}', "The body is empty"),
        ("application/json", b'{"image": "not base64!"}', "not valid base64"),
        ("application/json", b'{"image": "AAA"}', "not valid base64"),
        ("application/json", b'{"image": "data:image/png,AAAA"}', "must be base64"),
        ("application/json", '{"image": "ÄÖ"}'.encode(), "not valid base64"),
        ("multipart/form-data", b"--x--\r\n", "names no boundary"),
        ("multipart/form-data; boundary=xyz", b"", "empty or cut short"),
        ("multipart/form-data; boundary=xyz", b"no boundary in here", "malformed"),
        ("multipart/form-data; boundary=xyz", part(IMAGE), "empty or cut short"),
        ("multipart/form-data; boundary=" + "b" * 300, b"", "malformed"),
        (*form(part(b"x", 'form-data; name="file"')), "no file; send one"),
        (*form(part(b"")), "The file in the form is empty"),
        (*form(part(IMAGE), part(IMAGE)), "2 files; send one"),
        (*form(*[part(b"x", 'form-data; name="a"')] * (MAX_PARTS + 1)), f"more than {MAX_PARTS} parts"),
        (*form(b"--xyz\r\n" + b"A: b\r\n" * 1000 + b"\r\nx\r\n"), "malformed"),
        (*form(b"--xyz\r\nA: " + b"b" * 9000 + b"\r\n\r\nx\r\n"), "malformed"),
    ],
)
def test_a_malformed_body_is_told_what_is_wrong(content_type: str | None, body: bytes, message: str) -> None:
    """Every way of not sending one image is its own sentence, in one line, with nothing of the body in it."""
    with pytest.raises(MalformedRequestError, match=message) as caught:
        take(content_type, body)
    assert "\n" not in str(caught.value)
    assert "not base64!" not in str(caught.value)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "video/mp4", "garbage"])
def test_another_content_type_is_told_what_to_send(content_type: str) -> None:
    """What `curl -d` sends, for one, is none of the three forms."""
    with pytest.raises(UnsupportedMediaError, match="multipart/form-data"):
        take(content_type, IMAGE)


@pytest.mark.parametrize("content_type", ["image/png", "application/json", "multipart/form-data; boundary=xyz"])
def test_reading_stops_at_the_limit(content_type: str) -> None:
    """A body over the limit is refused when the limit is passed: what comes after is never taken from the network."""
    taken = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal taken
        yield part(b"")[:-2]
        while True:
            taken += 1_000
            yield bytes(1_000)

    with pytest.raises(BodyTooLargeError, match="10,000 bytes"):
        asyncio.run(read_image(content_type, None, stream(), LIMIT))
    assert taken <= LIMIT + 1_000


def test_a_length_over_the_limit_is_refused_before_the_body() -> None:
    """What Content-Length declares is believed, and nothing is read."""

    async def stream() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    with pytest.raises(BodyTooLargeError):
        asyncio.run(read_image("image/png", str(LIMIT + 1), stream(), LIMIT))


def test_the_limit_itself_is_allowed() -> None:
    """The limit is inclusive, and a length that is no number is no length."""
    assert len(take("image/png", bytes(LIMIT), length=str(LIMIT))) == LIMIT
    assert take("image/png", IMAGE, length="many") == IMAGE
