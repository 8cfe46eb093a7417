"""The load: posts of many different digits, and wrk, which sends them in turn.

Knows no server but by a port. A connection of wrk's sends its next request when it has the answer to its last; its
percentiles also count the requests that a slow answer kept from being sent, as if they had come at an even pace.
"""

import http.client
import io
import json
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.peers import ROOT

CORE = "1"  # of the load; servers have core 0
BOUNDARY = "d1g1t5"
TIMEOUT = 30  # seconds, for one answer


@dataclass(frozen=True)
class Post:
    """One request."""

    path: str
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()  # beside those that every one has

    def wire(self, port: int) -> bytes:
        """All of it, as HTTP/1.1 has it."""
        headers = {
            "Host": f"127.0.0.1:{port}",
            "Content-Type": self.content_type,
            "Content-Length": len(self.body),
            **dict(self.headers),
        }
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body

    def send(self, port: int, timeout: float = TIMEOUT) -> tuple[int, bytes]:
        """Send it once, on a connection of its own: the status and the body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request("POST", self.path, self.body, {"Content-Type": self.content_type, **dict(self.headers)})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@dataclass(frozen=True)
class Load:
    """What wrk saw."""

    requests: int  # answered, with whatever status
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int  # answered with a status of 400 or more
    broken: int  # not answered
    busy: float  # share of its core that wrk needed: near 1, it was itself what limited


def png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def multipart(path: str, part: str, files: Sequence[bytes]) -> Post:
    """A form with image files, as a browser or curl sends it."""
    head = f'Content-Disposition: form-data; name="{part}"; filename="digit.png"\r\nContent-Type: image/png\r\n\r\n'
    parts = [f"--{BOUNDARY}\r\n{head}".encode() + file + b"\r\n" for file in files]
    return Post(path, f"multipart/form-data; boundary={BOUNDARY}", b"".join(parts) + f"--{BOUNDARY}--\r\n".encode())


def raw(path: str, file: bytes) -> Post:
    """An image file as the body."""
    return Post(path, "image/png", file)


def tensor(path: str, image: NDArray[np.uint8]) -> Post:
    """A picture as a tensor in the JSON of the Open Inference Protocol."""
    data = {"name": "images", "shape": [1, *image.shape], "datatype": "UINT8", "data": image.ravel().tolist()}
    return Post(path, "application/json", json.dumps({"inputs": [data]}).encode())


def binary_tensor(path: str, images: NDArray[np.uint8]) -> Post:
    """Pictures ``(N, 28, 28)`` in the binary tensor extension of that protocol, answers asked for in the same."""
    data = {
        "name": "images",
        "shape": images.shape,
        "datatype": "UINT8",
        "parameters": {"binary_data_size": images.nbytes},
    }
    header = json.dumps({"inputs": [data], "parameters": {"binary_data_output": True}}).encode()
    lengths = (("Inference-Header-Content-Length", str(len(header))),)
    return Post(path, "application/octet-stream", header + images.tobytes(), lengths)


def run(posts: Sequence[Post], port: int, connections: int, seconds: float) -> Load:
    """Send posts in turn over some connections for some seconds."""
    with tempfile.NamedTemporaryFile(prefix="digits-") as file:
        for request in (post.wire(port) for post in posts):
            file.write(b"%d\n%b" % (len(request), request))
        file.flush()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wrk = subprocess.run(
            [
                *("taskset", "-c", CORE, "wrk", "--threads", "1", "--connections", str(connections)),
                *("--duration", f"{max(1, round(seconds))}s", "--timeout", f"{TIMEOUT}s"),
                *("--script", str(ROOT / "benchmarks" / "load.lua"), f"http://127.0.0.1:{port}", file.name),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return parse(wrk.stdout, (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime))


def parse(output: str, cpu_seconds: float) -> Load:
    """Read what load.lua told at the end of wrk's own report."""
    told = json.loads(output.splitlines()[-1])
    return Load(**told, busy=cpu_seconds / told["seconds"])
