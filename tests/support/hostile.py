"""What the tests of hostile input share: a raw connection, and a check that a server has come through unharmed."""

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

SECRET = b"S3CRET-OF-A-CLIENT"  # in bodies; neither an answer nor the log may have it
GROWTH = 120  # MB that a server may take beside what it had, at its peak
LEAKS = ("Traceback", "site-packages", str(ROOT), "/app/")  # in no answer


@dataclass(frozen=True)
class Reply:
    """An answer, from its first byte to the end of the connection."""

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
    """A whole POST, after which the connection is closed; ``length`` is what it says of itself, true or not."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body) if length is None else length}"
    more = f"Content-Type: {content_type}\r\n{framing}\r\n{more}Connection: close\r\n\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}"
    if chunked:
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in pieces(body, 65_536)) + b"0\r\n\r\n"
    return head.encode("latin-1") + body


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def get(path: str, more: str = "Host: x\r\n") -> bytes:
    return f"GET {path} HTTP/1.1\r\n{more}Connection: close\r\n\r\n".encode("latin-1")


def form(*parts: bytes, boundary: bytes = b"xyz") -> bytes:
    """The body of a form; each part is its head and its content."""
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def file_part(content: bytes, name: str = "a.png") -> bytes:
    return f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content


def talk(server: Server, data: bytes, seconds: float = 20) -> Reply:
    """Send bytes and receive until the server closes. It may close before it has everything."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        with suppress(ConnectionError):
            while part := connection.recv(65_536):
                received += part
    return Reply(received)


def memory(pid: int, field: str) -> float:
    """MB of a process: VmRSS is what it has, VmHWM the most it had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"{pid} has ended")


def started(pid: int) -> str:
    """When a process was started, in ticks since the machine was; with its number it names one process for good."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


@contextmanager
def unharmed(server: Server, seven: Grey, growth: float = GROWTH) -> Iterator[None]:
    """Check that what is done meanwhile leaves the server as it was.

    The next good request is answered, by the same process; its peak of memory is at most ``growth`` MB over what it
    had; and the log has no traceback and nothing of a body.
    """
    birth, logged = started(server.pid), server.log.stat().st_size
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # forgets the peak
    before = memory(server.pid, "VmRSS")
    yield
    good = httpx.post(f"{server.url}/predict", files={"file": png(seven)}, timeout=20)
    assert (good.status_code, good.json()["digit"]) == (200, 7)
    assert started(server.pid) == birth
    assert memory(server.pid, "VmHWM") - before < growth
    log = server.logged(good.headers["X-Request-ID"]).encode()[logged:]
    assert b"Traceback" not in log
    assert SECRET not in log


def is_told_why(reply: Reply, status: int, slug: str | None) -> None:
    """A refusal is a problem with a request id, and has neither a path of the server nor a word of the body in it."""
    assert reply.status == status
    assert reply.headers["x-request-id"]
    told = reply.json()
    if slug is None:  # under /v2, whose protocol has its own
        assert list(told) == ["error"]
    else:
        assert reply.headers["content-type"] == "application/problem+json"
        assert (told["type"], told["status"]) == (f"urn:problem-type:digitserve:{slug}", status)
        assert told["request_id"] == reply.headers["x-request-id"]
    assert len(reply.body) < 1_000
    assert SECRET not in reply.raw
    assert not any(leak in reply.body.decode() for leak in LEAKS)
