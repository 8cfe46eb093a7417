"""Extracts the images from the body of a request.

A body has one of three forms: ``multipart/form-data`` with file parts, the image itself, or JSON
``{"image": "<base64>"}``.
"""

import base64
import re
import string

from pydantic import ValidationError
from python_multipart.multipart import parse_options_header

from app.errors import MalformedRequestError, UnsupportedMediaError, describe_first_error
from app.http.multipart import BOUNDARY, read_files
from app.http.schemas import ImageBody

MAX_COMMAS = 16  # in a JSON body; base64 has none, a data: URI has one, and each value beyond the first costs memory
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors and Windows programs begin UTF-8 with it
FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")  # the base64 of RFC 4648, 5
FIELD_NAME = re.compile(r"[A-Za-z_]{1,32}")


def extract_image(content_type: bytes, body: bytes) -> bytes:
    """Return the one image in a body.

    Args:
        content_type: The header. If it is empty, the body is the image itself.
        body: The whole body.

    Raises:
        MalformedRequestError: The body does not contain exactly one image.
        UnsupportedMediaError: The body has none of the three forms.
    """
    if plain := BOUNDARY.fullmatch(content_type):
        return require_one_file(read_files(plain[1], body, max_files=1))
    kind, options = parse_options_header(content_type or b"application/octet-stream")
    if kind == b"multipart/form-data":
        return require_one_file(read_files(options.get(b"boundary", b""), body, max_files=1))
    if kind.startswith(b"image/") or kind in (b"application/octet-stream", b"binary/octet-stream"):
        return require_content(body)
    if kind == b"application/json":
        return read_json(body)
    raise UnsupportedMediaError(
        "Send multipart/form-data with one file, or the image itself as image/png (or jpeg, webp, bmp, gif, or heic "
        'and tiff if this service reads them), or application/json {"image": "<base64>"}.'
    )


def extract_images(content_type: bytes, body: bytes, max_files: int) -> list[bytes]:
    """Return the files of a form, in order. An empty file part gives empty bytes.

    Raises:
        MalformedRequestError: The form has no file, or more than ``max_files``.
        UnsupportedMediaError: The body is not a form.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise UnsupportedMediaError("Send multipart/form-data with a file part for each image.")
    files = read_files(options.get(b"boundary", b""), body, max_files)
    if not files:
        raise MalformedRequestError("The form has no file. Send some, for example with -F file=@a.png -F file=@b.png.")
    return files


def require_content(data: bytes) -> bytes:
    """Return the data. Raise MalformedRequestError if it is empty."""
    if not data:
        raise MalformedRequestError("The body is empty. Send an image.")
    return data


def read_json(body: bytes) -> bytes:
    """Return the image in ``{"image": …}``, given as base64, bare or as a data: URI.

    Raises:
        MalformedRequestError: The body is not such JSON.
    """
    if body.count(b",") > MAX_COMMAS:  # checked before parsing, which could take a hundred times the body's size
        raise MalformedRequestError('The JSON body must be {"image": "<base64>"}. It has far more values.')
    try:
        text = ImageBody.model_validate_json(require_content(body).removeprefix(BYTE_ORDER_MARK)).image
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        if not FIELD_NAME.fullmatch(".".join(str(part) for part in first["loc"])):
            first["loc"] = ()  # the client chose this name, so it may be anything
        raise MalformedRequestError(
            f'The JSON body must be {{"image": "<base64>"}}: {describe_first_error([first])}.'
        ) from None
    return require_content(decode_base64(text))


def decode_base64(text: str) -> bytes:
    """Decode base64: standard or URL-safe, padded or not, with line breaks or not, bare or as a data: URI.

    Raises:
        MalformedRequestError: It is not valid.
    """
    if text[:5].lower() == "data:":
        head, _, text = text.partition(",")
        if not head.lower().endswith(";base64"):
            raise MalformedRequestError("The data: URI must be base64: data:image/png;base64,….")
    try:
        digits = text.encode("ascii").translate(FROM_URL_SAFE, string.whitespace.encode()).rstrip(b"=")
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError are of this kind
        raise MalformedRequestError("The image is not valid base64.") from None


def require_one_file(files: list[bytes]) -> bytes:
    """Return the file of a form that must have one. Raise MalformedRequestError if it has none or an empty one."""
    if len(files) != 1:
        raise MalformedRequestError("The form has no file. Send one, for example with -F file=@digit.png.")
    if not files[0]:
        raise MalformedRequestError("The file in the form is empty.")
    return files[0]
