"""The file parts of a ``multipart/form-data`` body. The body is in memory, within the size limit, and never on disk."""

import re

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import MalformedRequestError
from app.imaging.formats import SIGNATURE_BYTES, match_signature

MAX_FIELDS = 16  # parts of a form that are not files; a form with a picture has fewer
MAX_BOUNDARY_BYTES = 70  # by RFC 2046; a longer boundary goes to the parser

# The head of a file part as nearly every client writes it. Anything else goes to the parser.
FILE_HEAD = re.compile(
    rb'(?i:content-disposition): form-data; name="[^"\\\r\n]*"; filename="[^"\\\r\n]+"'
    rb"(?:\r\n(?i:content-type): [^\r\n]*)?"
)
BOUNDARY = re.compile(rb"multipart/form-data; ?boundary=([A-Za-z0-9'()+_,./:=?-]{1,70})")


def read_files(boundary: bytes, body: bytes, max_files: int) -> list[bytes]:
    """Return up to ``max_files`` files of a form. Fields that are not files are skipped.

    Raises:
        MalformedRequestError: The form is malformed, or has more files.
    """
    files = split_files(boundary, body, max_files)
    return parse_files(boundary, body, max_files) if files is None else files


def split_files(boundary: bytes, body: bytes, max_files: int) -> list[bytes] | None:
    """Return the files of a form that has only files, as most forms do, or None if it may be anything else.

    This splits the body at the boundary. The parser goes through it byte by byte. What comes before the first boundary
    is no part (RFC 2046, 5.1.1).
    """
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        return None
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary, max_files + 1)
    if parts[-1] not in (b"--\r\n", b"--"):
        return None
    files = []
    for part in parts[1:-1]:
        head_end = part.find(b"\r\n\r\n")
        if not part.startswith(b"\r\n") or not FILE_HEAD.fullmatch(part, 2, head_end):
            return None
        files.append(part[head_end + 4 :])
    return files


def parse_files(boundary: bytes, body: bytes, max_files: int) -> list[bytes]:
    """Return the files of any form.

    Raises:
        MalformedRequestError: The form is malformed, or has more than ``max_files``.
    """
    if not boundary:
        raise MalformedRequestError("The multipart/form-data content type has no boundary.")
    start = body.find(b"\r\n--" + boundary)
    if start >= 0 and not body.startswith(b"--" + boundary):
        body = body[start + 2 :]  # the parser does not skip what comes before the first boundary
    form = Form(max_files)
    try:
        parser = form.make_parser(boundary)
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise MalformedRequestError("The multipart/form-data body is malformed.") from None
    if not form.complete:
        raise MalformedRequestError("The multipart/form-data body is empty or truncated.")
    return [bytes(file) for file in form.files]


class Form:
    """Collects the file parts of a form from the callbacks of python-multipart's parser."""

    def __init__(self, max_files: int) -> None:
        self.files: list[bytearray] = []
        self.complete = False
        self._max_files = max_files
        self._field_count = 0
        self._name = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}  # of the current part
        self._content = bytearray()  # of the current part

    def make_parser(self, boundary: bytes) -> MultipartParser:
        """Create a parser that fills this form."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._content = bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._name.lower())] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _on_part_end(self) -> None:
        if self._is_file():
            self.files.append(self._content)
            if len(self.files) > self._max_files:
                allowed = "one" if self._max_files == 1 else f"at most {self._max_files:,}"
                raise MalformedRequestError(f"The form has {len(self.files):,} files or more. Send {allowed}.")
            return
        self._field_count += 1
        if self._field_count > MAX_FIELDS:
            raise MalformedRequestError(f"The form has more than {MAX_FIELDS} parts that are not files.")

    def _is_file(self) -> bool:
        """Return whether the current part is a file. Some clients send files without a name: then the type says so, or
        the documented name of the field together with the content."""
        disposition = self._headers.get(b"content-disposition", b"")
        kind, options = parse_options_header(disposition)
        if kind != b"form-data":
            return False
        # filename*= is against RFC 7578 and the parser ignores it, but some clients send nothing else.
        if options.get(b"filename") or b"filename*=" in disposition:
            return True
        # A browser sends an empty file input as an empty part with an empty file name.
        content_type, _ = parse_options_header(self._headers.get(b"content-type"))
        is_binary = content_type.startswith(b"image/") or content_type.endswith(b"/octet-stream")
        is_picture = options.get(b"name") == b"file" and match_signature(bytes(self._content[:SIGNATURE_BYTES]))
        return bool(self._content and (is_binary or is_picture))

    def _on_end(self) -> None:
        self.complete = True
