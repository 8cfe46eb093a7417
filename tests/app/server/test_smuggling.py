"""Nobody smuggles a request to the service, directly or through a proxy."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.pictures import Grey, png
from tests.support.proxies import CLIENT_ID, behind, post_pictures, proxy_parameters
from tests.support.running import Server, running
from tests.support.smuggling import HIDDEN, PREFIX, is_harmless, make_attempts, send_all

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    """A server that soon closes every connection, whatever arrived on it."""
    with running(DIGITS_KEEP_ALIVE_S="1", DIGITS_BODY_S="5") as server:
        yield server


def test_a_hidden_request_is_never_answered(impatient: Server) -> None:
    """More than 2,000 attempts get one answer each, or 400 and the end of the connection."""
    attempts = make_attempts(HIDDEN)
    assert len(attempts) > 2_000
    replies = send_all(impatient.port, attempts, silence_s=20)
    assert [attempt.name for attempt, reply in zip(attempts, replies, strict=True) if not is_harmless(reply)] == []
    statuses = Counter(reply[9:12] for reply in replies)
    assert {b"200", b"400", b"413", b"415"} < set(statuses)  # some are valid requests, and most are not
    assert "Traceback" not in impatient.log.read_text()


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
REFUSAL = b'HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n{"type":"malformed-http"}'


@pytest.mark.parametrize(
    ("reply", "harmless"),
    [
        (ANSWER, True),
        (REFUSAL, True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER, True),
        (ANSWER + REFUSAL, True),
        (b"", False),
        (ANSWER + ANSWER, False),
        (REFUSAL + ANSWER, False),
        (REFUSAL + REFUSAL, False),
        (ANSWER.replace(b"\r\n\r\n", b"\r\nx-request-id: hidden\r\n\r\n"), False),
    ],
)
def test_a_second_answer_is_noticed(reply: bytes, harmless: bool) -> None:
    """So is one to the hidden request, and anything after a refusal."""
    assert is_harmless(reply) is harmless


@pytest.mark.parametrize("name", proxy_parameters())
def test_other_clients_of_a_proxy_get_their_own_answers(
    name: str, impatient: Server, seven: Grey, tmp_path: Path
) -> None:
    """One client hides the beginning of a request in every form. The others get their own answers, and it gets none of
    them."""
    done = threading.Event()

    def pauses() -> Iterator[float]:
        while not done.is_set():
            yield 0.0
        yield from [0.0] * 50  # on connections that it may have spoilt

    with behind(name, impatient.url.removeprefix("http://"), tmp_path) as url, ThreadPoolExecutor(2) as pool:
        others = [pool.submit(post_pictures, url, [(7, png(seven))], pauses()) for _ in range(2)]
        replies = send_all(int(url.rpartition(":")[2]), make_attempts(PREFIX)[::4], silence_s=0.5)
        done.set()
        for other in others:
            assert set(other.result()) == {"right"}
    assert not any(CLIENT_ID.encode() in reply for reply in replies)
