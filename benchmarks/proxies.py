"""Send requests through nginx, HAProxy and Caddy: none is lost, and none gets the answer to another one.

    python -m benchmarks.proxies [--proxies nginx caddy] [--requests 10000] [--pauses 2000]

Three things are done to the service behind each proxy. Pictures are posted in quick succession. Pictures are posted
after pauses of 0.9 to 1.1 times the time after which the service closes an idle connection. Every form of request
smuggling is tried, while other clients post pictures. The forms are also tried without a proxy: each must get one
answer, or a 400 and the end of the connection. Proxies that are not installed are skipped.
"""

import argparse
import random
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.examples import make_examples
from tests.support.pictures import png
from tests.support.proxies import CLIENT_ID, PROXIES, behind, find_command, post_pictures
from tests.support.running import running
from tests.support.smuggling import PREFIX, is_harmless, make_attempts, send_all

KEEP_ALIVE_S, PROXY_IDLE_S = 1.0, 0.8
CLIENTS, PAUSED_CLIENTS, OTHER_CLIENTS = 8, 100, 4  # connections
OTHERS_AFTERWARDS = 100  # requests of each other client after the last attempt, on connections that it may have spoilt
SILENCE_S = 0.5  # a proxy keeps the connection of an attempt open
DIRECT_SILENCE_S = 20.0

Pictures = list[tuple[int, bytes]]


def post(url: str, pictures: Pictures, pauses_s: list[list[float]]) -> Counter[str]:
    """Post pictures, on a connection for each list of pauses. Count the outcomes."""
    with ThreadPoolExecutor(len(pauses_s)) as pool:
        return sum(pool.map(lambda own: post_pictures(url, pictures, own), pauses_s), Counter())


def smuggle(url: str, pictures: Pictures) -> tuple[Counter[str], Counter[str]]:
    """Try to smuggle requests while others post. Return the outcomes of the attempts and of the others."""
    done = threading.Event()

    def pauses() -> Iterator[float]:
        while not done.is_set():
            yield 0.0
        yield from [0.0] * OTHERS_AFTERWARDS

    with ThreadPoolExecutor(OTHER_CLIENTS) as pool:
        others = [pool.submit(post_pictures, url, pictures, pauses()) for _ in range(OTHER_CLIENTS)]
        received = send_all(int(url.rpartition(":")[2]), make_attempts(PREFIX), SILENCE_S)
        done.set()
        stolen = Counter("stolen answer" if CLIENT_ID.encode() in each else "right" for each in received)
        return stolen, sum((other.result() for other in others), Counter())


def report(name: str, what: str, outcomes: Counter[str]) -> bool:
    """Print a row. Return whether all went well."""
    wrong = {outcome: count for outcome, count in outcomes.items() if outcome != "right"}
    print(f"{name:<10}{what:<44}{outcomes.total():>8,}{sum(wrong.values()):>8}", flush=True)
    for outcome, count in list(wrong.items())[:20]:
        print(f"  {count} x {outcome}")
    return not wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.proxies", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proxies", nargs="+", choices=PROXIES, default=list(PROXIES), metavar="PROXY")
    parser.add_argument("--requests", type=int, default=10_000, help="through each proxy, in quick succession")
    parser.add_argument("--pauses", type=int, default=2_000, help="requests through each proxy after a pause")
    arguments = parser.parse_args()
    pictures = [(int(name[0]), png(image)) for name, image in make_examples().items() if name[0].isdigit()]
    dice = random.Random(0)
    quick = [[0.0] * (arguments.requests // CLIENTS)] * CLIENTS
    slow = [
        [dice.uniform(0.9, 1.1) * KEEP_ALIVE_S for _ in range(arguments.pauses // PAUSED_CLIENTS)]
        for _ in range(PAUSED_CLIENTS)
    ]
    print(f"{'proxy':<10}{'what':<44}{'count':>8}{'wrong':>8}")
    with running(DIGITS_KEEP_ALIVE_S=str(KEEP_ALIVE_S), DIGITS_BODY_S="5") as server:
        attempts = make_attempts()
        replies = send_all(server.port, attempts, DIRECT_SILENCE_S)
        outcomes = Counter(
            "right" if is_harmless(reply) else attempt.name for attempt, reply in zip(attempts, replies, strict=True)
        )
        passed = report("none", "attempts to smuggle", outcomes)
        for name in arguments.proxies:
            if find_command(name) is None:
                print(f"{name:<10}is not installed")
                continue
            address = server.url.removeprefix("http://")
            with tempfile.TemporaryDirectory() as folder, behind(name, address, Path(folder), PROXY_IDLE_S) as url:
                passed &= report(name, "requests", post(url, pictures, quick))
                passed &= report(name, "requests after a pause", post(url, pictures, slow))
                attacks, others = smuggle(url, pictures)
                passed &= report(name, "attempts to smuggle", attacks)
                passed &= report(name, "requests of other clients meanwhile", others)
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
