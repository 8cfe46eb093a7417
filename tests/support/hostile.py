"""Helpers for tests of hostile input: raw requests, and a check that a server is unharmed."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.pictures import Grey, png
from tests.support.running import ROOT, Server

SECRET = b"S3CRET-OF-A-CLIENT"  # sent in bodies; it must not appear in a response or in the log
MAX_GROWTH_MB = 120  # by which the peak memory of a server may grow
LEAKS = ("Traceback", "site-packages", str(ROOT), "/app/")  # must not appear in a response


@dataclass(frozen=True)
class Reply:
    """Everything that the server sends until it closes the connection."""

    raw: bytes

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1]) if self.raw else 0

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    def json(self) -> Any:
        return json.loads(self.body)


def post(
    path: str, content_type: str, body: bytes = b"", chunked: bool = False, length: int | None = None, more: str = ""
) -> bytes:
    """Return the bytes of a POST that closes the connection. ``length`` is its Content-Length, right or wrong."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body) if length is None else length}"
    more = f"Content-Type: {content_type}\r\n{framing}\r\n{more}Connection: close\r\n\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}"
    if chunked:
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in split_evenly(body, 65_536)) + b"0\r\n\r\n"
    return head.encode("latin-1") + body


def split_evenly(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def get(path: str, more: str = "Host: x\r\n") -> bytes:
    return f"GET {path} HTTP/1.1\r\n{more}Connection: close\r\n\r\n".encode("latin-1")


def form(*parts: bytes, boundary: bytes = b"xyz") -> bytes:
    """Return the body of a form. Each part has its own head."""
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def file_part(content: bytes, name: str = "a.png") -> bytes:
    return f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content


def talk(server: Server, data: bytes, seconds: float = 20) -> Reply:
    """Send bytes, and receive until the server closes. It may close before it has received everything."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        with suppress(ConnectionError):
            while part := connection.recv(65_536):
                received += part
    return Reply(received)


def memory(pid: int, field: str) -> float:
    """Return the memory of a process in MB: VmRSS is the current value, VmHWM the peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"{pid} has ended")


def start_time(pid: int) -> str:
    """Return when a process was started, in ticks since boot. Ids are reused, but not with the same start time."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


@contextmanager
def unharmed(server: Server, seven: Grey, growth: float = MAX_GROWTH_MB) -> Iterator[None]:
    """Check that the block leaves the server unharmed.

    The same process answers the next good request, its peak memory is at most ``growth`` MB above its memory before,
    and the log has no traceback and no part of a body.
    """
    started, log_size = start_time(server.pid), server.log.stat().st_size
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # forgets the peak
    before = memory(server.pid, "VmRSS")
    yield
    good = httpx.post(f"{server.url}/predict", files={"file": png(seven)}, timeout=20)
    assert (good.status_code, good.json()["digit"]) == (200, 7)
    assert start_time(server.pid) == started
    assert memory(server.pid, "VmHWM") - before < growth
    log = server.wait_for_log(good.headers["X-Request-ID"]).encode()[log_size:]
    assert b"Traceback" not in log
    assert SECRET not in log


def check_refusal(reply: Reply, status: int, slug: str | None) -> None:
    """Check that a response is a problem with a request ID, without a path of the server or a part of the body."""
    assert reply.status == status
    assert reply.headers["x-request-id"]
    problem = reply.json()
    if slug is None:  # under /v2, which has its own form of errors
        assert list(problem) == ["error"]
    else:
        assert reply.headers["content-type"] == "application/problem+json"
        assert (problem["type"], problem["status"]) == (f"urn:problem-type:digitserve:{slug}", status)
        assert problem["request_id"] == reply.headers["x-request-id"]
    assert len(reply.body) < 1_000
    assert SECRET not in reply.raw
    assert not any(leak in reply.body.decode() for leak in LEAKS)
