"""The body of a request -> the bytes of its image, or of several.

Three forms: ``multipart/form-data`` with file parts, the image itself, and JSON ``{"image": "<base64>"}``. The body is
in memory, within the limit, and never on disk. Knows nothing of what is in an image.
"""

import base64
import binascii
import re

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import MalformedRequestError, UnsupportedMediaError
from app.schemas import ImageBody

MAX_FIELDS = 16  # parts of a form beside its files; more is not somebody's picture
LONGEST_BOUNDARY = 70  # bytes, by RFC 2046; a longer one is for the parser to judge
MAX_COMMAS = 16  # in a JSON body; base64 has none, a data: URI has one, and each value beyond the first costs memory

# The head of a file's part, as nearly every client writes it. Whatever is written otherwise is left to the parser.
FILE_HEAD = re.compile(
    rb'(?i:content-disposition): form-data; name="[^"\\\r\n]*"; filename="[^"\\\r\n]+"'
    rb"(?:\r\n(?i:content-type): [^\r\n]*)?"
)
FIELD_NAME = re.compile(r"[A-Za-z_]{1,32}")
BOUNDARY = re.compile(rb"multipart/form-data; ?boundary=([A-Za-z0-9'()+_,./:=?-]{1,70})")


def take_image(content_type: bytes, body: bytes) -> bytes:
    """Take the one image out of a body.

    Args:
        content_type: the header; none, empty, is taken as the image itself.
        body: all of it.

    Raises:
        MalformedRequestError: there is not one image in it.
        UnsupportedMediaError: the body is in none of the three forms.
    """
    if plain := BOUNDARY.fullmatch(content_type):
        return one_of(read_form(plain[1], body, most=1))
    kind, options = parse_options_header(content_type or b"application/octet-stream")
    if kind == b"multipart/form-data":
        return one_of(read_form(options.get(b"boundary", b""), body, most=1))
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return not_empty(body)
    if kind == b"application/json":
        return read_json(body)
    raise UnsupportedMediaError(
        "Send multipart/form-data with one file, or the image itself as image/png (or jpeg, webp, bmp, gif), "
        'or application/json {"image": "<base64>"}.'
    )


def take_images(content_type: bytes, body: bytes, most: int) -> list[bytes]:
    """Take the file parts out of a form, in order; one that is empty is an empty one.

    Raises:
        MalformedRequestError: there is none, or more than ``most``.
        UnsupportedMediaError: the body is no form.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise UnsupportedMediaError("Send multipart/form-data with a file part for each image.")
    files = read_form(options.get(b"boundary", b""), body, most)
    if not files:
        raise MalformedRequestError("The form has no file; send some, as -F file=@a.png -F file=@b.png does.")
    return files


def not_empty(data: bytes) -> bytes:
    if not data:
        raise MalformedRequestError("The body is empty: there is no image in it.")
    return data


def read_json(body: bytes) -> bytes:
    """Take the image out of ``{"image": …}``: base64, bare or as a data: URI."""
    if body.count(b",") > MAX_COMMAS:  # told before it is parsed, for that could take a hundred times the body's size
        raise MalformedRequestError('The JSON body must be {"image": "<base64>"}: there is far more in it.')
    try:
        text = ImageBody.model_validate_json(not_empty(body)).image
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        told = f"{field}: " if FIELD_NAME.fullmatch(field) else ""  # the client's own, so it may be anything
        raise MalformedRequestError(f'The JSON body must be {{"image": "<base64>"}}: {told}{first["msg"]}.') from None
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise MalformedRequestError("The data: URI must be base64: data:image/png;base64,….")
    try:
        return not_empty(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        raise MalformedRequestError("The image is not valid base64.") from None


def one_of(files: list[bytes]) -> bytes:
    if len(files) != 1:
        raise MalformedRequestError("The form has no file; send one, as -F file=@digit.png does.")
    if not files[0]:
        raise MalformedRequestError("The file in the form is empty.")
    return files[0]


def read_form(boundary: bytes, body: bytes, most: int) -> list[bytes]:
    """Take up to ``most`` files out of a form; fields that are no files are passed over."""
    files = files_alone(boundary, body, most)
    return parse_form(boundary, body, most) if files is None else files


def files_alone(boundary: bytes, body: bytes, most: int) -> list[bytes] | None:
    """Take the files out of a form that has nothing but files, as most have; None where it may be anything else.

    Found by splitting at the boundary, where the parser goes from byte to byte.
    """
    if not 0 < len(boundary) <= LONGEST_BOUNDARY:
        return None
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary, most + 1)
    if parts[0] or parts[-1] not in (b"--\r\n", b"--"):
        return None
    files = []
    for part in parts[1:-1]:
        head_end = part.find(b"\r\n\r\n")
        if not part.startswith(b"\r\n") or not FILE_HEAD.fullmatch(part, 2, head_end):
            return None
        files.append(part[head_end + 4 :])
    return files


def parse_form(boundary: bytes, body: bytes, most: int) -> list[bytes]:
    """Take the files out of any form."""
    if not boundary:
        raise MalformedRequestError("The multipart/form-data content type names no boundary.")
    form = Form(most)
    try:
        parser = form.parser(boundary)
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise MalformedRequestError("The multipart/form-data body is malformed.") from None
    if not form.ended:
        raise MalformedRequestError("The multipart/form-data body is empty or cut short.")
    return [bytes(file) for file in form.files]


class Form:
    """Gathers the file parts of a form from the callbacks of python-multipart's parser."""

    def __init__(self, most: int) -> None:
        self.files: list[bytearray] = []
        self.ended = False
        self._most = most  # files
        self._fields = 0
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._file: bytearray | None = None  # the part being read, if it is a file

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def _on_part_begin(self) -> None:
        self._disposition = b""
        self._file = None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        # A browser sends a file input that was left empty as a part with an empty file name. The form filename*= is
        # against RFC 7578, the parser passes over it, and some clients send nothing else.
        named = options.get(b"filename") or b"filename*=" in self._disposition
        if kind == b"form-data" and named:
            self._file = bytearray()
            self.files.append(self._file)
            if len(self.files) > self._most:
                allowed = "one" if self._most == 1 else f"{self._most:,} at most"
                raise MalformedRequestError(f"The form has {len(self.files):,} files or more; send {allowed}.")
            return
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise MalformedRequestError(f"The form has more than {MAX_FIELDS} parts that are no files.")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file += data[start:end]

    def _on_end(self) -> None:
        self.ended = True
