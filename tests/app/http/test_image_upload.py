"""Bodies: all three forms give the same bytes, and each malformed body gets its own error."""

import base64
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MalformedRequestError, UnsupportedMediaError
from app.http.image_upload import extract_image, extract_images
from app.http.multipart import MAX_FIELDS, parse_files, split_files
from app.imaging.formats import PNG_SIGNATURE

IMAGE = bytes(range(256)) * 3 + b"\r\n--bound\r\n--boundary"  # contains bytes that look like the end of a part


def extract(content_type: str | None, body: bytes) -> bytes:
    return extract_image((content_type or "").encode(), body)


FILE = 'form-data; name="file"; filename="a.png"'
FIELD = 'form-data; name="note"'


def part(content: bytes, disposition: str = FILE, boundary: str = "xyz", content_type: str | None = None) -> bytes:
    """Return a part of a form. Its type is that of a PNG, unless the disposition is that of a field."""
    if content_type is None and "filename" in disposition:
        content_type = "image/png"
    type_line = f"\r\nContent-Type: {content_type}" if content_type else ""
    return f"--{boundary}\r\nContent-Disposition: {disposition}{type_line}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes, boundary: str = "xyz") -> tuple[str, bytes]:
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


@given(st.binary(min_size=1, max_size=2000))
def test_the_three_forms_give_the_same_bytes(image: bytes) -> None:
    """A form, a raw body and JSON give the same image, whatever its bytes."""
    boundary = "a-boundary-that-random-bytes-do-not-contain"
    text = base64.b64encode(image).decode()
    assert extract(*form(part(image, boundary=boundary), boundary=boundary)) == image
    assert extract("image/png", image) == image
    assert extract("application/json", json.dumps({"image": text}).encode()) == image


DISPOSITIONS = st.sampled_from(
    [
        'form-data; name="file"; filename="a.png"',
        'form-data; name="file"; filename=""',
        'form-data; name="file"; filename="a\\"b.png"',
        'form-data; name="file"',
        'form-data; name="note"',
        'attachment; filename="a.png"',
    ]
)
PIECES = st.lists(
    st.sampled_from([b"--xyz", b"\r\n", b"--", b"\r\n--xyz", b"\r\n--xyz--", b"a", b"\r\n\r\n", b"\x89PNG"]), max_size=6
)


@given(PIECES, st.lists(st.tuples(DISPOSITIONS, PIECES), max_size=3), PIECES, st.integers(0, 3))
def test_splitting_agrees_with_the_parser(
    before: list[bytes], parts: list[tuple[str, list[bytes]]], after: list[bytes], cut: int
) -> None:
    """If a form can be split without the parser, the parser finds the same files."""
    _, body = form(*(part(b"".join(content), disposition) for disposition, content in parts))
    body = b"".join(before) + body[: len(body) - cut] + b"".join(after)
    if found := split_files(b"xyz", body, max_files=100):
        assert parse_files(b"xyz", body, max_files=100) == found


def test_forms_of_real_clients_need_no_parser() -> None:
    """The forms of curl, httpx and browsers can all be split."""
    for disposition in ('form-data; name="file"; filename="a.png"', 'form-data; name="file"; filename="ziffer é.png"'):
        assert split_files(b"xyz", form(*[part(IMAGE, disposition)] * 2)[1], max_files=2) == [IMAGE] * 2


def test_bytes_similar_to_the_boundary_are_content() -> None:
    """Only the complete boundary ends a part."""
    assert extract(*form(part(IMAGE, boundary="boundary-x"), boundary="boundary-x")) == IMAGE


@pytest.mark.parametrize(
    "content_type",
    ["image/png", "Image/PNG; x=y", "image/whatever", "application/octet-stream", "binary/octet-stream", None, ""],
)
def test_the_image_itself_may_be_the_body(content_type: str | None) -> None:
    """Its type is any image type, octet-stream as HTTP or Amazon S3 names it, or missing."""
    assert extract(content_type, IMAGE) == IMAGE


@pytest.mark.parametrize(
    "text", ["{}", "data:image/png;base64,{}", "data:;base64,{}", "DATA:image/png;BASE64,{}", "{}\n", " {}"]
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json_accepts_base64_and_data_uris(text: str, mark: bytes) -> None:
    """Bare or as a data: URI, with the line breaks that the command `base64` adds, and after a byte order mark."""
    encoded = base64.encodebytes(IMAGE).decode()
    body = mark + json.dumps({"image": text.format(encoded)}).encode()
    assert extract("application/json; charset=utf-8", body) == IMAGE


@given(st.binary(min_size=1, max_size=50))
def test_base64_may_be_safe_for_urls_and_unpadded(image: bytes) -> None:
    """Both alphabets are read, and the padding may be missing."""
    for text in (base64.b64encode(image).decode(), base64.urlsafe_b64encode(image).decode()):
        for given_text in (text, text.rstrip("=")):
            assert extract("application/json", json.dumps({"image": given_text}).encode()) == image


def test_fields_that_are_not_files_are_skipped() -> None:
    """A form may have other fields, and an empty file input."""
    note = part(b"hello", FIELD)
    path = part(b"file:///digit.png", 'form-data; name="file"')
    settings = part(b"{}", 'form-data; name="settings"', content_type="application/json")  # as Spring sends them
    empty = part(b"", 'form-data; name="other"; filename=""', content_type="application/octet-stream")
    assert extract(*form(note, path, settings, part(IMAGE), empty)) == IMAGE


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("file", None), ("file", "text/plain"), ("x", "image/png"), ("x", "application/octet-stream")],
)
@pytest.mark.parametrize("file_name", ["", '; filename=""'])
def test_a_file_part_needs_no_file_name(name: str, content_type: str | None, file_name: str) -> None:
    """It is a file if its type says so, or the documented name of the field and the first bytes of a picture."""
    disposition, picture = f'form-data; name="{name}"{file_name}', PNG_SIGNATURE + IMAGE
    head = f"--xyz\r\nContent-Disposition: {disposition}\r\n"
    if content_type:
        head += f"Content-Type: {content_type}\r\n"
    kind, body = form(part(b"hello", FIELD), head.encode() + b"\r\n" + picture + b"\r\n")
    assert extract(kind, body) == picture
    assert extract_images(kind.encode(), body, max_files=1) == [picture]


@pytest.mark.parametrize(
    "preamble", [b"\r\n", b"This is a message in several parts.\r\n", b"--xy\r\n--\r\n", b"\xff\r\n"]
)
def test_what_comes_before_the_first_boundary_is_skipped(preamble: bytes) -> None:
    """RFC 2046 allows a preamble and an epilogue. Both readers of forms skip them."""
    kind, body = form(part(IMAGE))
    assert extract(kind, preamble + body) == IMAGE
    assert extract(kind, preamble + form(part(b"hello", FIELD), part(IMAGE))[1] + b"the end") == IMAGE


def test_the_file_may_have_any_field_name_and_a_name_in_any_script() -> None:
    """The documented name is `file`, but every file part is accepted."""
    assert extract(*form(part(IMAGE, 'form-data; name="image"; filename="x"'))) == IMAGE
    assert extract(*form(part(IMAGE, "form-data; name=\"f\"; filename*=UTF-8''%E4%B8%83.png"))) == IMAGE


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
        ("application/json", b'{"image": [' + b"[]," * 20 + b"0]}", "far more values"),
        ("application/json", b'{"image": ""}', "The body is empty"),
        ("application/json", b'{"image": "not base64!"}', "not valid base64"),
        ("application/json", b'{"image": "AAAAA"}', "not valid base64"),
        ("application/json", b'{"image": "data:image/png,AAAA"}', "must be base64"),
        ("application/json", '{"image": "ÄÖ"}'.encode(), "not valid base64"),
        ("multipart/form-data", b"--x--\r\n", "has no boundary"),
        ("multipart/form-data; boundary=xyz", b"", "empty or truncated"),
        ("multipart/form-data; boundary=xyz", b"no boundary in here", "malformed"),
        ("multipart/form-data; boundary=xyz", part(IMAGE), "empty or truncated"),
        ("multipart/form-data; boundary=" + "b" * 300, b"", "malformed"),
        (*form(part(b"x", FIELD)), "no file. Send one"),
        (*form(part(b"")), "The file in the form is empty"),
        (*form(part(IMAGE), part(IMAGE)), "2 files or more. Send one"),
        (*form(*[part(b"x", FIELD)] * (MAX_FIELDS + 1)), f"more than {MAX_FIELDS} parts"),
        (*form(b"--xyz\r\n" + b"A: b\r\n" * 1000 + b"\r\nx\r\n"), "malformed"),
        (*form(b"--xyz\r\nA: " + b"b" * 9000 + b"\r\n\r\nx\r\n"), "malformed"),
    ],
)
def test_a_malformed_body_gets_its_own_message(content_type: str | None, body: bytes, message: str) -> None:
    """Every mistake has its own message, which is one line and repeats nothing from the body."""
    with pytest.raises(MalformedRequestError, match=message) as caught:
        extract(content_type, body)
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
def test_json_uses_less_than_twice_its_size(body: bytes) -> None:
    """Millions of small values or a very long name are refused before they are parsed, and not repeated."""
    extract("application/json", json.dumps({"image": "AAAA"}).encode())  # the first call imports modules
    tracemalloc.start()
    with pytest.raises(MalformedRequestError) as caught:
        extract("application/json", body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(body)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "video/mp4", "garbage"])
def test_another_content_type_gets_the_list_of_forms(content_type: str) -> None:
    """For example, `curl -d` sends none of the three forms."""
    with pytest.raises(UnsupportedMediaError, match="multipart/form-data"):
        extract(content_type, IMAGE)


def test_several_files_are_in_order() -> None:
    """A form for a batch gives all its files, even an empty one, and may have other fields."""
    kind, body = form(part(b"one"), part(b"x", FIELD), part(b""), part(b"three"))
    assert extract_images(kind.encode(), body, max_files=3) == [b"one", b"", b"three"]


def test_a_batch_has_limits() -> None:
    """Too many files are refused, and so are a form without files and a body that is not a form."""
    kind, body = form(*[part(b"x")] * 4)
    with pytest.raises(MalformedRequestError, match="at most 3"):
        extract_images(kind.encode(), body, max_files=3)
    with pytest.raises(MalformedRequestError, match="no file"):
        extract_images(kind.encode(), form(part(b"x", FIELD))[1], max_files=3)
    with pytest.raises(UnsupportedMediaError):
        extract_images(b"image/png", b"x", max_files=3)
