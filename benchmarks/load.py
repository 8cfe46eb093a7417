"""The load: POST requests with many different digits, sent in turn by wrk.

A connection of wrk sends its next request when it has the answer to the last one. The percentiles also count the
requests that a slow answer kept from being sent, as if they had come at an even pace. This module knows a server only
by its port.
"""

import http.client
import json
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import ROOT

LOAD_CORE = "1"  # servers have core 0
BOUNDARY = "d1g1t5"
TIMEOUT_S = 30  # for one answer


@dataclass(frozen=True)
class Post:
    """A POST request."""

    path: str
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()  # in addition to those that every request has

    def encode(self, port: int) -> bytes:
        """Encode the request as HTTP/1.1."""
        headers = {
            "Host": f"127.0.0.1:{port}",
            "Content-Type": self.content_type,
            "Content-Length": len(self.body),
            **dict(self.headers),
        }
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body

    def send(self, port: int, timeout: float = TIMEOUT_S) -> tuple[int, bytes]:
        """Send the request once on a new connection. Return the status and the body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request("POST", self.path, self.body, {"Content-Type": self.content_type, **dict(self.headers)})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@dataclass(frozen=True)
class LoadResult:
    """What wrk measured."""

    requests: int  # answered, with any status
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int  # answered with a status of 400 or more
    broken: int  # not answered
    busy: float  # share of its core that wrk used; near 1, wrk was the bottleneck


def multipart_post(path: str, part: str, files: Sequence[bytes]) -> Post:
    """Make a form with image files, as a browser or curl sends it."""
    head = f'Content-Disposition: form-data; name="{part}"; filename="digit.png"\r\nContent-Type: image/png\r\n\r\n'
    parts = [f"--{BOUNDARY}\r\n{head}".encode() + file + b"\r\n" for file in files]
    return Post(path, f"multipart/form-data; boundary={BOUNDARY}", b"".join(parts) + f"--{BOUNDARY}--\r\n".encode())


def raw_post(path: str, file: bytes) -> Post:
    """Make a request whose body is an image file."""
    return Post(path, "image/png", file)


def tensor_post(path: str, image: NDArray[np.uint8]) -> Post:
    """Make a request with one picture as a JSON tensor of the Open Inference Protocol."""
    data = {"name": "images", "shape": [1, *image.shape], "datatype": "UINT8", "data": image.ravel().tolist()}
    return Post(path, "application/json", json.dumps({"inputs": [data]}).encode())


def binary_tensor_post(path: str, images: NDArray[np.uint8]) -> Post:
    """Make a request with pictures ``(N, 28, 28)`` as a binary tensor, and ask for the answer as binary tensors."""
    data = {
        "name": "images",
        "shape": images.shape,
        "datatype": "UINT8",
        "parameters": {"binary_data_size": images.nbytes},
    }
    header = json.dumps({"inputs": [data], "parameters": {"binary_data_output": True}}).encode()
    lengths = (("Inference-Header-Content-Length", str(len(header))),)
    return Post(path, "application/octet-stream", header + images.tobytes(), lengths)


def run_wrk(posts: Sequence[Post], port: int, connections: int, seconds: float) -> LoadResult:
    """Send requests in turn over a number of connections for some seconds."""
    with tempfile.NamedTemporaryFile(prefix="digits-") as file:
        for request in (post.encode(port) for post in posts):
            file.write(b"%d\n%b" % (len(request), request))
        file.flush()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wrk = subprocess.run(
            [
                *("taskset", "-c", LOAD_CORE, "wrk", "--threads", "1", "--connections", str(connections)),
                *("--duration", f"{max(1, round(seconds))}s", "--timeout", f"{TIMEOUT_S}s"),
                *("--script", str(ROOT / "benchmarks" / "load.lua"), f"http://127.0.0.1:{port}", file.name),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return parse_report(wrk.stdout, (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime))


def parse_report(output: str, cpu_seconds: float) -> LoadResult:
    """Parse the line of JSON that load.lua appends to wrk's report."""
    report = json.loads(output.splitlines()[-1])
    return LoadResult(**report, busy=cpu_seconds / report["seconds"])
