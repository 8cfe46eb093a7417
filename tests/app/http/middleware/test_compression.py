"""Compression of large answers, over a real socket, with curl and httpx."""

import asyncio
import gzip
import json
import shutil
import subprocess
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from app.http.middleware.compression import MIN_BYTES, Compression, accepts_gzip
from tests.support.pictures import Grey, png
from tests.support.running import Server

Post = Callable[[httpx.Client, Grey], httpx.Response]
INFER = "/v2/models/digitnet/infer"


def post_batch(client: httpx.Client, seven: Grey) -> httpx.Response:
    """Post 50 pictures in a form. The answer has about 13 KB."""
    return client.post("/predict/batch", files=[("file", ("a.png", png(seven)))] * 50)


def post_tensor(client: httpx.Client, seven: Grey) -> httpx.Response:
    """Post 200 pictures as a tensor. The answer has about 15 KB."""
    data = np.broadcast_to(seven, (200, 28, 28)).ravel().tolist()
    tensor = {"name": "images", "shape": [200, 28, 28], "datatype": "UINT8", "data": data}
    return client.post(INFER, json={"inputs": [tensor]})


@pytest.mark.parametrize("post", [post_batch, post_tensor])
def test_a_large_answer_is_compressed_on_request(server: Server, seven: Grey, post: Post) -> None:
    """With gzip it is the same JSON in a fifth of the bytes or less. Caches learn what it depends on."""
    with httpx.Client(base_url=server.url, timeout=20) as client:
        small = post(client, seven)
        client.headers["Accept-Encoding"] = "br, gzip;q=0"
        large = post(client, seven)
    assert (small.headers["content-encoding"], small.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert "content-encoding" not in large.headers
    assert large.headers["vary"] == "Accept-Encoding"
    assert int(large.headers["content-length"]) == len(large.content) > MIN_BYTES
    assert int(small.headers["content-length"]) < len(large.content) / 5
    assert small.json() == large.json()


def test_curl_reads_compressed_metrics(server: Server) -> None:
    """As Prometheus does, it asks for gzip. HEAD has the same headers and no body."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    url = f"{server.url}/metrics"
    plain, read, raw = (
        subprocess.run(["curl", "-sf", *more, url], capture_output=True, check=True, timeout=20).stdout
        for more in ([], ["--compressed"], ["-H", "Accept-Encoding: gzip"])
    )
    assert plain.startswith(b"# HELP")
    assert read.startswith(b"# HELP")
    assert gzip.decompress(raw).startswith(b"# HELP")
    assert len(raw) < len(plain) / 3
    head = httpx.head(url)
    assert (head.headers["content-encoding"], head.content) == ("gzip", b"")


def test_small_answers_and_pages_are_not_compressed(server: Server, seven: Grey) -> None:
    """One digit is too small. The OpenAPI document has an ETag, which is that of its own bytes."""
    with httpx.Client(base_url=server.url) as client:
        answers = [
            client.post("/predict", files={"file": png(seven)}),
            client.get("/livez"),
            client.get("/openapi.json"),
        ]
    for answer in answers:
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers


def test_files_keep_their_ranges_and_etags(server: Server) -> None:
    """A part of a file is that part, and its ETag gets 304."""
    url = f"{server.url}/assets/redoc/redoc.standalone.js"
    with httpx.Client() as client:
        whole, part = client.get(url), client.get(url, headers={"Range": "bytes=1000-20999"})
        assert (part.status_code, part.content) == (206, whole.content[1000:21000])
        assert "content-encoding" not in {*whole.headers, *part.headers}
        assert client.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("accepted", ["gzip", "GZIP ; Q=1.000", "br;q=1, gzip;q=0.001", "*", "identity;q=0,*;q=0.1"])
def test_gzip_is_accepted(accepted: str) -> None:
    """It is named, or everything is, with any quality above 0."""
    assert accepts_gzip(accepted)


@pytest.mark.parametrize("accepted", ["", "br, deflate", "gzip;q=0", "*, gzip;q=0.000", "*;q=0", "identity", ";;,,"])
def test_gzip_is_not_accepted(accepted: str) -> None:
    """It is not named, or has the quality 0."""
    assert not accepts_gzip(accepted)


@pytest.mark.parametrize("size", [10, 2 * MIN_BYTES])
def test_only_a_large_answer_looks_at_the_request(size: int) -> None:
    """A small one costs nothing: the headers of the request are not even read."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse("x" * size)(scope, receive, send)

    async def receive() -> Message:
        raise NotImplementedError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    class HeadersRead(Exception):
        pass

    class ScopeWithoutHeaders(dict[str, object]):
        def __missing__(self, key: str) -> object:
            raise HeadersRead

    call = Compression(app)(ScopeWithoutHeaders(type="http", method="GET"), receive, send)
    if size < MIN_BYTES:
        asyncio.run(call)
        assert json.loads(sent[1]["body"]) == "x" * size
    else:
        with pytest.raises(HeadersRead):
            asyncio.run(call)
