"""Compressed bodies over a real socket: inflated everywhere, within the limits."""

import base64
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.pictures import Grey, png
from tests.support.running import Server, running

FORM_TYPE = "multipart/form-data; boundary=xyz"
TENSOR = b'{"inputs": [{"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [' + b"0, " * 783 + b"0]}]}"


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "GZip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,  # against RFC 9110, but .NET's DeflateStream sends it
    "identity": bytes,
    "": bytes,
}


def post(server: Server, path: str, body: bytes, content_type: str, *encodings: str) -> httpx.Response:
    headers = [("Content-Type", content_type), *(("Content-Encoding", encoding) for encoding in encodings)]
    return httpx.post(server.url + path, content=body, headers=headers)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_compressed_body_is_read_like_any_other(server: Server, encoding: str, seven: Grey) -> None:
    """With gzip and deflate, every path that takes a body gives the answer that it gives without."""
    file = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n%b\r\n--xyz--\r\n' % png(
        seven
    )
    for path, body, content_type in (
        ("/predict", file, FORM_TYPE),
        ("/predict?normalize=never", png(seven), "image/png"),
        ("/predict", b'{"image": "%b"}' % base64.b64encode(png(seven)), "application/json"),
        ("/predict/batch", file, FORM_TYPE),
        ("/read", file, FORM_TYPE),
        ("/explain", file, FORM_TYPE),
        ("/v2/models/digitnet/infer", TENSOR, "application/json"),
    ):
        answer = post(server, path, ENCODINGS[encoding](body), content_type, encoding)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.json() == post(server, path, body, content_type).json()


@pytest.mark.parametrize("encodings", [("br",), ("zstd",), ("gzip, gzip",), ("gzip", "deflate"), ("aes128gcm",)])
def test_other_encodings_are_refused_by_name(server: Server, encodings: tuple[str, ...], seven: Grey) -> None:
    """They get a 415 that lists what is accepted (RFC 9110, 12.5.3)."""
    for path in ("/predict", "/v2/models/digitnet/infer"):
        answer = post(server, path, png(seven), "image/png", *encodings)
        assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "gzip, deflate")
    assert "type" not in answer.json()  # /v2 has its own form
    assert "gzip" in answer.json()["error"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("damage", ["cut short", "followed by something", "something else", "empty"])
def test_a_damaged_body_is_malformed(server: Server, encoding: str, damage: str, seven: Grey) -> None:
    """What cannot be inflated completely, or is not all of the body, gets a 400."""
    body = ENCODINGS[encoding](png(seven))
    broken = {
        "cut short": body[:-5],
        "followed by something": body + bytes(200_000),
        "something else": png(seven),
        "empty": b"",
    }
    answer = post(server, "/predict", broken[damage], "image/png", encoding)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (400, "malformed-request")
    assert encoding in answer.json()["detail"]


def peak_megabytes(server: Server) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def test_a_bomb_stops_at_the_limit(seven: Grey) -> None:
    """A small body that would inflate to 300 MB gets a 413 at the limit, and takes no more memory than the limit."""
    with running() as server:
        assert post(server, "/predict", gzip.compress(png(seven)), "image/png", "gzip").status_code == 200
        before = peak_megabytes(server)
        for encoding in ("gzip", "deflate"):
            bomb = ENCODINGS[encoding](bytes(3 * 10**8))
            assert post(server, "/predict", bomb, "image/png", encoding).status_code == 413
        assert peak_megabytes(server) - before < 60


def test_the_limit_is_that_of_the_inflated_body(seven: Grey) -> None:
    """A body of exactly the limit is read, and one with a byte more is not, wherever its pieces end."""
    with running(DIGITS_MAX_BODY_BYTES="200000") as server:
        for size, status in ((200_000, 200), (200_001, 413)):
            body = gzip.compress(png(seven).ljust(size, b"\0"))
            assert post(server, "/predict", body, "image/png", "gzip").status_code == status


def test_inflated_bytes_count_as_uploads_in_progress(seven: Grey) -> None:
    """They count towards DIGITS_MAX_INFLIGHT_BYTES until the answer, and no longer."""
    with running(DIGITS_MAX_INFLIGHT_BYTES="300000") as server:
        for _ in range(3):
            large, small = (gzip.compress(png(seven).ljust(size, b"\0")) for size in (400_000, 200_000))
            assert post(server, "/predict", large, "image/png", "gzip").status_code == 503
            assert post(server, "/predict", small, "image/png", "gzip").status_code == 200
