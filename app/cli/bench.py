"""``digitserve bench``: measures a running service under load."""

import argparse
import json
import math
import os
import socket
import string
import sys
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urlsplit

from app.cli.console import no_connection
from app.cli.parser import Parser, complete_paths
from app.errors import UsageError

if TYPE_CHECKING:  # ``bench --help`` needs none of these, so ``run`` imports them
    import asyncio

    from app.cli.load_generator import Load, Tally

PICTURE_COUNT = 1000  # different pictures: more than any cache is likely to hold
FORMS = ("multipart", "raw", "json")
MAX_RATE = 100_000.0  # requests per second: several times what this process can send
REFRESH_INTERVAL_S = 0.2  # of the progress bar
BAR_WIDTH = 30
DESCRIPTION = """\
Measure a running service.

With --rate, each request starts at its planned time, even if earlier requests
are unanswered, and its latency counts from that time. Without --rate, each
connection sends its next request when the last one is answered. Only 2xx
counts as answered. Latencies include requests without an answer, with the time
that they have waited. Ctrl-C ends the run early, and the results are printed.
"""


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.usage, parser.description = "%(prog)s [flags] [FILE ...]", DESCRIPTION
    add = parser.add_argument
    files = add("files", nargs="*", type=Path, metavar="FILE", help=f"pictures to send [{PICTURE_COUNT:,} digits]")
    complete_paths(files)
    add("--url", type=parse_url, default="http://127.0.0.1:8000", help="address of the service [%(default)s]")
    add("--anywhere", action="store_true", help="allow an address on another machine")
    add("--path", default="/predict", help="path to POST to [%(default)s]")
    add("--form", choices=FORMS, default="multipart", help="how to send a picture [%(default)s]")
    add("--rate", type=parse_rate, metavar="N", help="requests per second, at random times like those of real users")
    add("--even", action="store_true", help="with --rate: evenly spaced requests")
    add(
        "--connections",
        type=parse_count,
        metavar="N",
        help="connections; with --rate, the maximum [16, or 256 with --rate]",
    )
    add("--seconds", type=parse_positive, default=10.0, metavar="N", help="how long to start requests [%(default)g]")
    add("--json", action="store_true", help="print one JSON object instead of a table")


def parse_positive(text: str) -> float:
    """Parse a finite number above 0."""
    with suppress(ValueError):
        if 0 < (value := float(text)) < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"{text} is not a number above 0")


def parse_rate(text: str) -> float:
    """Parse a number of requests per second."""
    if (value := parse_positive(text)) > MAX_RATE:
        raise argparse.ArgumentTypeError(f"more than {MAX_RATE:,g} per second is far more than it can send")
    return value


def parse_count(text: str) -> int:
    """Parse a whole number above 0."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def parse_url(text: str) -> SplitResult:
    """Parse an http URL."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is invalid: {error}") from None
    if url.scheme == "https":
        raise argparse.ArgumentTypeError("https is not supported; measure the service itself, over http")
    if url.scheme != "http" or not url.hostname or port == 0:
        raise argparse.ArgumentTypeError(f"{text} is not like http://127.0.0.1:8000")
    return url


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the results.

    Returns:
        0 if each request got a 2xx answer, 1 if not or if there was no request.

    Raises:
        UsageError: The arguments are wrong.
        ServiceError: Nothing listens at the address.
        ModelFolderError: The sample pictures come from the released model, which is missing.
    """
    import asyncio

    from app.cli.bench_report import format_table, summarize
    from app.cli.bench_requests import make_request, sample_pictures
    from app.cli.load_generator import MAX_WAIT_S, Load, plan_starts

    url: SplitResult = arguments.url
    if arguments.even and not arguments.rate:
        raise UsageError("--even needs --rate")
    try:
        addresses = resolve(url)
        if not arguments.anywhere and not all(ip_address(host).is_loopback for host, _ in addresses):
            raise UsageError(f"{url.hostname} is not this machine; --anywhere allows it, if the machine is yours")
        pictures = [file.read_bytes() for file in arguments.files] or sample_pictures(PICTURE_COUNT)
    except OSError as error:
        raise UsageError(f"{error.filename or url.hostname}: {error.strerror}") from None
    host = url.netloc.rpartition("@")[2]
    path = quote(url.path.rstrip("/") + arguments.path, safe=string.punctuation)
    connections = arguments.connections or (256 if arguments.rate else 16)
    starts = plan_starts(arguments.rate, arguments.seconds, arguments.even) if arguments.rate else None
    requests = [make_request(host, path, arguments.form, picture) for picture in pictures]
    try:
        load = Load(find_listener(addresses, MAX_WAIT_S), requests, connections, arguments.seconds, starts)
        with asyncio.Runner(loop_factory=select_loop_factory()) as runner:
            tally = runner.run(run_with_bar(load))
    except OSError as error:
        # asyncio's own messages name each address; the name of the error number is the same everywhere.
        reason = os.strerror(error.errno) if error.errno else str(error) or f"none was accepted within {MAX_WAIT_S:g} s"
        raise no_connection(url.geturl(), reason) from None
    conditions = {
        "url": f"http://{host}{path}",
        "form": arguments.form,
        "pictures": len(set(pictures)),
        "loop": "open" if arguments.rate else "closed",
        "rate": arguments.rate,
        "arrivals": ("even" if arguments.even else "poisson") if arguments.rate else None,
        "connections": connections,
    }
    results = conditions | summarize(tally, open_loop=starts is not None)
    print(json.dumps(results) if arguments.json else format_table(results))
    return int(not tally.answered or bool(tally.errors))


def resolve(url: SplitResult) -> list[tuple[str, int]]:
    """Look up the addresses of a URL's host."""
    entries = socket.getaddrinfo(url.hostname, url.port or 80, type=socket.SOCK_STREAM)
    return [(str(address[0]), int(address[1])) for *_, address in entries]


def find_listener(addresses: list[tuple[str, int]], timeout_s: float) -> tuple[str, int]:
    """Return the first address that accepts a connection.

    ``localhost`` may be ``::1`` as well, while the service listens only at ``127.0.0.1``.
    """
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            socket.create_connection(address, timeout=timeout_s).close()
            return address
    return last  # if nothing listens there either, the load finds out


def select_loop_factory() -> "Callable[[], asyncio.AbstractEventLoop] | None":
    """Return uvloop's factory if it is installed, because it is faster. None means asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def run_with_bar(load: "Load") -> "Tally":
    """Run a load. On a terminal, show a progress bar meanwhile."""
    import asyncio

    if not sys.stderr.isatty():
        return await load.run()
    bar = asyncio.create_task(show_progress(load))
    try:
        return await load.run()
    finally:
        bar.cancel()
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


async def show_progress(load: "Load") -> None:
    """Draw the progress bar until cancelled."""
    import asyncio

    while True:
        elapsed = min(perf_counter() - load.tally.started, load.seconds)
        bar = "#" * round(BAR_WIDTH * elapsed / load.seconds)
        counts = f"{load.tally.answered:,} answered, {load.tally.errors.total():,} not"
        text = f"[{bar:<{BAR_WIDTH}}] {elapsed:.1f} of {load.seconds:g} s  {counts}"
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
        await asyncio.sleep(REFRESH_INTERVAL_S)
