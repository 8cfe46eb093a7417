"""Bodies: three forms to the same bytes, however they arrive, and each malformed one to its error."""

import base64
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MalformedRequestError, UnsupportedMediaError
from app.http.upload import MAX_FIELDS, files_alone, parse_form, take_image, take_images

IMAGE = bytes(range(256)) * 3 + b"\r\n--bound\r\n--boundary"  # with what looks like the end of a part in it


def take(content_type: str | None, body: bytes) -> bytes:
    return take_image((content_type or "").encode(), body)


def part(content: bytes, disposition: str = 'form-data; name="file"; filename="a.png"', boundary: str = "xyz") -> bytes:
    head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: image/png\r\n\r\n"
    return head.encode() + content + b"\r\n"


def form(*parts: bytes, boundary: str = "xyz") -> tuple[str, bytes]:
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


@given(st.binary(min_size=1, max_size=2000))
def test_the_three_forms_give_the_same_bytes(image: bytes) -> None:
    """Form, raw and JSON are the same image, whatever its bytes."""
    boundary = "a-boundary-that-random-bytes-do-not-hold"
    text = base64.b64encode(image).decode()
    assert take(*form(part(image, boundary=boundary), boundary=boundary)) == image
    assert take("image/png", image) == image
    assert take("application/json", json.dumps({"image": text}).encode()) == image


DISPOSITIONS = st.sampled_from(
    [
        'form-data; name="file"; filename="a.png"',
        'form-data; name="file"; filename=""',
        'form-data; name="file"; filename="a\\"b.png"',
        'form-data; name="file"',
        'attachment; filename="a.png"',
    ]
)
PIECES = st.lists(
    st.sampled_from([b"--xyz", b"\r\n", b"--", b"\r\n--xyz", b"\r\n--xyz--", b"a", b"\r\n\r\n", b"\x89PNG"]), max_size=6
)


@given(st.lists(st.tuples(DISPOSITIONS, PIECES), max_size=3), PIECES, st.integers(0, 3))
def test_the_quick_look_agrees_with_the_parser(
    parts: list[tuple[str, list[bytes]]], after: list[bytes], cut: int
) -> None:
    """Where files are taken out of a form without the parser, the parser finds those files and no others."""
    _, body = form(*(part(b"".join(content), disposition) for disposition, content in parts))
    body = body[: len(body) - cut] + b"".join(after)
    if found := files_alone(b"xyz", body, most=100):
        assert parse_form(b"xyz", body, most=100) == found


def test_what_clients_send_needs_no_parser() -> None:
    """The forms of curl, httpx and browsers are all found by the quick look."""
    for disposition in ('form-data; name="file"; filename="a.png"', 'form-data; name="file"; filename="ziffer é.png"'):
        assert files_alone(b"xyz", form(*[part(IMAGE, disposition)] * 2)[1], most=2) == [IMAGE] * 2


def test_what_looks_like_a_boundary_is_no_boundary() -> None:
    """Only the whole boundary ends a part."""
    assert take(*form(part(IMAGE, boundary="boundary-x"), boundary="boundary-x")) == IMAGE


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
        ("application/json", b'{"image": "AAAA", "not base64!": 7}', ": Extra inputs"),
        ("application/json", b'{"image": [' + b"[]," * 20 + b"0]}", "far more in it"),
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
        (*form(part(IMAGE), part(IMAGE)), "2 files or more; send one"),
        (*form(*[part(b"x", 'form-data; name="a"')] * (MAX_FIELDS + 1)), f"more than {MAX_FIELDS} parts"),
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


@pytest.mark.parametrize(
    "body",
    [
        b'{"image": [' + b"[]," * 3_000_000 + b"0]}",
        b"{" + b",".join(b'"%x": 0' % number for number in range(700_000)) + b"}",
        b'{"image": "AAAA", "' + b"k" * 9_000_000 + b'": 0}',
    ],
)
def test_json_takes_no_more_than_a_few_times_its_size(body: bytes) -> None:
    """A body of millions of small values, or of one long name, is refused before it is parsed, and not repeated."""
    take(
        "application/json", json.dumps({"image": "AAAA"}).encode()
    )  # what is imported at the first call is not counted
    tracemalloc.start()
    with pytest.raises(MalformedRequestError) as caught:
        take("application/json", body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(body)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "video/mp4", "garbage"])
def test_another_content_type_is_told_what_to_send(content_type: str) -> None:
    """What `curl -d` sends, for one, is none of the three forms."""
    with pytest.raises(UnsupportedMediaError, match="multipart/form-data"):
        take(content_type, IMAGE)


def test_several_files_come_in_order() -> None:
    """A form for a batch gives its files as they are, an empty one too, and may have fields beside them."""
    kind, body = form(part(b"one"), part(b"x", 'form-data; name="note"'), part(b""), part(b"three"))
    assert take_images(kind.encode(), body, most=3) == [b"one", b"", b"three"]


def test_a_batch_is_bounded_and_not_empty() -> None:
    """One file more than allowed is refused, and so are none, and what is no form."""
    kind, body = form(*[part(b"x")] * 4)
    with pytest.raises(MalformedRequestError, match="3 at most"):
        take_images(kind.encode(), body, most=3)
    with pytest.raises(MalformedRequestError, match="no file"):
        take_images(kind.encode(), form(part(b"x", 'form-data; name="a"'))[1], most=3)
    with pytest.raises(UnsupportedMediaError):
        take_images(b"image/png", b"x", most=3)
