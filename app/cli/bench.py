"""The bench command: what a service answers under load, measured honestly, and told in a table.

Knows nothing of how a load is made: that is ``load.py``.
"""

import argparse
import asyncio
import base64
import json
import math
import secrets
import socket
import string
import sys
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from app.cli.console import fail
from app.cli.load_generator import PATIENCE, Load, Tally, arrivals
from app.imaging.variants import make_variants
from app.inference import model_folder
from app.settings import released_model

PICTURES = 1000  # that are made of the golden digits: more than a cache of anything is likely to hold
MOST = 100_000.0  # requests a second that may be asked for: several times what this process can send
QUANTILES = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
BUSY = 0.85  # share of the time; a generator that needs more of its core is itself what is measured
LATE_MS = 1.0  # and a tenth of the latency, both at their p99: past the two, that latency is the generator's


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = commands.add_parser("bench", help="measure a running service")
    parser.set_defaults(run=run)
    parser.description = (
        "Measure a running service. With --rate, requests start when they are due, whether or not earlier ones have "
        "been answered, and a latency counts from then; else each connection sends its next request when the last is "
        "answered. Answered means with 2xx; latencies are of those, and of requests given up on, with what they had "
        "waited. Ctrl-C ends it early. The exit status is 1 if anything was not answered."
    )
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help=f"pictures to send in turn [{PICTURES:,} different digits]")
    add("--url", type=http_url, default="http://127.0.0.1:8000", help="where the service is [%(default)s]")
    add("--anywhere", action="store_true", help="allow an address that is not of this machine")
    add("--path", default="/predict", help="what to POST to [%(default)s]")
    add("--form", choices=FORMS, default="multipart", help="how a picture is sent [%(default)s]")
    add("--rate", type=rate, metavar="N", help="requests that start each second, at random as users come")
    add("--even", action="store_true", help="with --rate: evenly spaced instead")
    add("--connections", type=count, metavar="N", help="connections; with --rate, at most [16; with --rate 256]")
    add("--seconds", type=above_zero, default=10.0, metavar="N", help="for how long requests start [%(default)g]")
    add("--json", action="store_true", help="print one JSON object instead of a table")


def above_zero(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def rate(text: str) -> float:
    if (value := above_zero(text)) > MOST:
        raise argparse.ArgumentTypeError(f"more than {MOST:,g} a second is far more than it can send")
    return value


def count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def http_url(text: str) -> SplitResult:
    url = urlsplit(text)
    if url.scheme == "https":
        raise argparse.ArgumentTypeError("https is not supported; measure the service itself, over http")
    if url.scheme != "http" or not url.hostname or url.port == 0:
        raise argparse.ArgumentTypeError(f"{text} is not like http://127.0.0.1:8000")
    return url


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print what was found.

    Returns:
        0 if all answers were 2xx, 1 if not or if there were none, 2 if it was asked for what cannot be.

    Raises:
        ModelFolderError: the golden digits were to be sent, and the released model is not there.
    """
    url: SplitResult = arguments.url
    if arguments.even and not arguments.rate:
        return fail(2, "--even says how the requests of --rate are spaced")
    try:
        addresses = resolve(url)
        if not arguments.anywhere and not all(ip_address(host).is_loopback for host, _ in addresses):
            return fail(2, f"{url.hostname} is not this machine; --anywhere measures it all the same, if it is yours")
        pictures = [file.read_bytes() for file in arguments.files] or sample_pictures(PICTURES)
    except OSError as error:
        return fail(2, f"{error.filename or url.hostname}: {error.strerror}")
    host = url.netloc.rpartition("@")[2]
    path = quote(url.path.rstrip("/") + arguments.path, safe=string.punctuation)
    connections = arguments.connections or (256 if arguments.rate else 16)
    moments = arrivals(arguments.rate, arguments.seconds, arguments.even) if arguments.rate else None
    requests = [prepare(host, path, arguments.form, picture) for picture in pictures]
    try:
        load = Load(first_listening(addresses), requests, connections, arguments.seconds, moments)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            tally = runner.run(watched(load))
    except ConnectionRefusedError:
        start = f"digitserve serve --port {url.port or 80}"
        return fail(1, f"nothing listens at {url.geturl()}; this starts the service: {start}")
    except OSError as error:
        reason = error.strerror or str(error) or f"none was taken within {PATIENCE:g} s"
        return fail(1, f"no connection to {url.geturl()}: {reason}")
    asked = {
        "url": f"http://{host}{path}",
        "form": arguments.form,
        "pictures": len(set(pictures)),
        "loop": "open" if arguments.rate else "closed",
        "rate": arguments.rate,
        "arrivals": ("even" if arguments.even else "poisson") if arguments.rate else None,
        "connections": connections,
    }
    found = asked | summary(tally, open_loop=moments is not None)
    print(json.dumps(found) if arguments.json else table(found))
    return int(not tally.answered or bool(tally.errors))


def resolve(url: SplitResult) -> list[tuple[str, int]]:
    found = socket.getaddrinfo(url.hostname, url.port or 80, type=socket.SOCK_STREAM)
    return [(str(address[0]), int(address[1])) for *_, address in found]


def first_listening(addresses: list[tuple[str, int]]) -> tuple[str, int]:
    """The first that takes a connection: localhost may be ::1 too, and the service listen at 127.0.0.1 alone."""
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            socket.create_connection(address, timeout=PATIENCE).close()
            return address
    return last  # if nobody listens there either, the load finds out


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster loop where it is; None is asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def sample_pictures(count: int) -> list[bytes]:
    """Make so many different PNG files from the golden digits of the released model."""
    golden = model_folder.load(released_model()).manifest.golden
    return make_variants([digit.image for digit in golden], count)


def multipart(picture: bytes) -> tuple[str, bytes]:
    boundary = secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="digit"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return f"multipart/form-data; boundary={boundary}", head.encode() + picture + f"\r\n--{boundary}--\r\n".encode()


def raw(picture: bytes) -> tuple[str, bytes]:
    return "application/octet-stream", picture


def as_json(picture: bytes) -> tuple[str, bytes]:
    return "application/json", json.dumps({"image": base64.b64encode(picture).decode()}).encode()


FORMS: dict[str, Callable[[bytes], tuple[str, bytes]]] = {"multipart": multipart, "raw": raw, "json": as_json}


def prepare(host: str, path: str, form: str, picture: bytes) -> bytes:
    """A whole request."""
    content_type, body = FORMS[form](picture)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: digitserve-bench\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def watched(load: Load) -> Tally:
    """Carry out a load, with a bar that shows how far it is where somebody looks."""
    if not sys.stderr.isatty():
        return await load.run()
    bar = asyncio.create_task(show(load))
    try:
        return await load.run()
    finally:
        bar.cancel()
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


async def show(load: Load) -> None:
    while True:
        passed = min(perf_counter() - load.tally.started, load.seconds)
        done, errors = round(30 * passed / load.seconds), load.tally.errors.total()
        text = (
            f"[{'#' * done:<30}] {passed:.1f} of {load.seconds:g} s  {load.tally.answered:,} answered, {errors:,} not"
        )
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
        await asyncio.sleep(0.2)


def quantiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds, each a time that was measured: the least that so large a share is at or below."""
    ordered = sorted(seconds)
    return {name: ordered[max(math.ceil(q * len(ordered)), 1) - 1] * 1e3 for name, q in QUANTILES.items() if ordered}


def summary(tally: Tally, open_loop: bool) -> dict[str, Any]:
    """What was measured, as --json prints it."""
    latency, lag = quantiles(tally.latencies), quantiles(tally.lags)
    late = bool(latency and lag) and lag["p99"] > max(LATE_MS, latency["p99"] / 10)
    return {
        "seconds": round(tally.window, 3),
        "requests": tally.requests,
        "offered_per_second": round(tally.requests / tally.window, 1) if open_loop else None,
        "answered": tally.answered,
        "answered_per_second": round(tally.answered / max(tally.window, tally.last - tally.started), 1),
        "errors": {str(what): number for what, number in sorted(tally.errors.items(), key=str)},
        "latency_ms": {name: round(value, 3) for name, value in latency.items()},
        "bytes_sent": tally.sent,
        "bytes_received": tally.received,
        "connections_reopened": tally.reopened,
        "generator_busy": round(tally.busy, 3),
        "generator_late_p99_ms": round(lag["p99"], 3) if lag else None,
        "generator_was_the_bottleneck": late or tally.busy > BUSY,
    }


def table(found: dict[str, Any]) -> str:
    """The same for people: a row each."""
    rows: dict[str, str] = {}
    for name, value in found.items():
        label = name.replace("_", " ")
        if isinstance(value, dict):
            style = ",.3f" if name == "latency_ms" else ","
            rows |= {f"{label} {key}": f"{each:{style}}" for key, each in value.items()}
        elif isinstance(value, bool):
            rows[label] = "yes" if value else "no"
        elif value is not None:
            rows[label] = value if isinstance(value, str) else f"{value:,}"
    lines = [f"{label:<30}{value:>15}" for label, value in rows.items()]
    if found["generator_busy"] > BUSY:
        lines += ["", "The generator had no time left: these figures are of it rather than of the server."]
    elif found["generator_was_the_bottleneck"]:
        lines += ["", "The generator started requests late: the longer latencies are of it rather than of the server."]
    return "\n".join(lines)
