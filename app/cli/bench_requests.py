"""The HTTP requests that ``digitserve bench`` sends."""

import base64
import json
import secrets
from collections.abc import Callable

from app.imaging.variants import make_variants
from app.inference import model_folder
from app.settings import released_model


def sample_pictures(count: int) -> list[bytes]:
    """Make ``count`` different PNG files from the golden digits of the released model.

    Raises:
        ModelFolderError: The released model is missing.
    """
    golden = model_folder.load(released_model()).manifest.golden
    return make_variants([digit.image for digit in golden], count)


def encode_multipart(picture: bytes) -> tuple[str, bytes]:
    """Return the content type and the body of a form with one file."""
    boundary = secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="digit"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return f"multipart/form-data; boundary={boundary}", head.encode() + picture + f"\r\n--{boundary}--\r\n".encode()


def encode_raw(picture: bytes) -> tuple[str, bytes]:
    """Return the content type and the body of a request that is the picture itself."""
    return "application/octet-stream", picture


def encode_json(picture: bytes) -> tuple[str, bytes]:
    """Return the content type and the body of a JSON request."""
    return "application/json", json.dumps({"image": base64.b64encode(picture).decode()}).encode()


ENCODERS: dict[str, Callable[[bytes], tuple[str, bytes]]] = {
    "multipart": encode_multipart,
    "raw": encode_raw,
    "json": encode_json,
}


def make_request(host: str, path: str, form: str, picture: bytes) -> bytes:
    """Make a complete HTTP request that sends a picture."""
    content_type, body = ENCODERS[form](picture)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: digitserve-bench\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
