"""A request's body -> the bytes of one image, within the limit, as they arrive, never on disk.

Three forms: ``multipart/form-data`` with one file part, the image itself, and JSON ``{"image": "<base64>"}``. Knows
nothing of what is in the image.
"""

import base64
import binascii
from collections.abc import AsyncIterator

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import BodyTooLargeError, MalformedRequestError, UnsupportedMediaError
from app.schemas import ImageBody

MAX_PARTS = 16  # in one form; more is not somebody's picture


async def read_image(
    content_type: str | None, content_length: str | None, stream: AsyncIterator[bytes], limit: int
) -> bytes:
    """Take the image out of a request.

    Args:
        content_type: the header; none is taken as the image itself.
        content_length: the header, if there is one.
        stream: the body, in chunks.
        limit: bytes of the body at most.

    Raises:
        BodyTooLargeError: the body is, or says that it is, over the limit.
        MalformedRequestError: there is not one image in it.
        UnsupportedMediaError: the body is in none of the three forms.
    """
    if content_length and content_length.isdecimal() and int(content_length) > limit:
        raise too_large(limit)
    body = bounded(stream, limit)
    kind, options = parse_options_header(content_type or "application/octet-stream")
    if kind == b"multipart/form-data":
        return await read_form(options.get(b"boundary", b""), body)
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return not_empty(b"".join([chunk async for chunk in body]))
    if kind == b"application/json":
        return read_json(b"".join([chunk async for chunk in body]))
    raise UnsupportedMediaError(
        "Send multipart/form-data with one file, or the image itself as image/png (or jpeg, webp, bmp, gif), "
        'or application/json {"image": "<base64>"}.'
    )


def too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than the {limit:,} bytes that are allowed.")


def not_empty(data: bytes) -> bytes:
    if not data:
        raise MalformedRequestError("The body is empty: there is no image in it.")
    return data


async def bounded(stream: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Pass chunks on, and stop at the first that goes past the limit."""
    received = 0
    async for chunk in stream:
        received += len(chunk)
        if received > limit:
            raise too_large(limit)
        yield chunk


def read_json(body: bytes) -> bytes:
    """Take the image out of ``{"image": …}``: base64, bare or as a data: URI."""
    try:
        text = ImageBody.model_validate_json(not_empty(body)).image
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise MalformedRequestError(
            f'The JSON body must be {{"image": "<base64>"}}: {field + ": " if field else ""}{first["msg"]}.'
        ) from None
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise MalformedRequestError("The data: URI must be base64: data:image/png;base64,….")
    try:
        return not_empty(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        raise MalformedRequestError("The image is not valid base64.") from None


async def read_form(boundary: bytes, body: AsyncIterator[bytes]) -> bytes:
    """Take the one file out of a form; fields that are no files are passed over."""
    if not boundary:
        raise MalformedRequestError("The multipart/form-data content type names no boundary.")
    form = Form()
    try:
        parser = form.parser(boundary)
        async for chunk in body:
            parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise MalformedRequestError("The multipart/form-data body is malformed.") from None
    if not form.ended:
        raise MalformedRequestError("The multipart/form-data body is empty or cut short.")
    if len(form.files) != 1:
        found = "no file" if not form.files else f"{len(form.files)} files"
        raise MalformedRequestError(f"The form has {found}; send one, as -F file=@digit.png does.")
    if not form.files[0]:
        raise MalformedRequestError("The file in the form is empty.")
    return bytes(form.files[0])


class Form:
    """Gathers the file parts of a form from the callbacks of python-multipart's parser."""

    def __init__(self) -> None:
        self.files: list[bytearray] = []
        self.ended = False
        self._parts = 0
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
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MalformedRequestError(f"The form has more than {MAX_PARTS} parts; send one file.")
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

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file += data[start:end]

    def _on_end(self) -> None:
        self.ended = True
