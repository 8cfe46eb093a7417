"""Requests that are answered without the app: the answer is the app's, and everything unusual is left to the app."""

import asyncio
import base64
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from app.http.paths import HEALTH_BODIES
from app.server import uvicorn_server
from tests.support.in_process import run
from tests.support.pictures import Grey, encode, png
from tests.support.running import Server, running

KEY = "secret"
KEY_HASH = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
BY_THE_APP = {"Content-Encoding": "identity"}  # changes nothing, but is unusual


def comparable(response: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """Return what must not depend on who answers."""
    headers = {name: value for name, value in response.headers.items() if name != "date"}
    timing = headers.get("server-timing", "")
    return response.status_code, response.content, headers | {"server-timing": re.sub(r"[\d.]+", "0", timing)}


def test_a_picture_gets_the_answer_of_the_app(seven: Grey) -> None:
    """A form, a file as the body and JSON, in four formats, light or dark or blank: status, body and headers agree."""
    blank = png(seven * 0)
    encoded = {"image": base64.b64encode(png(seven)).decode()}
    requests: list[dict[str, Any]] = [
        {"files": {"file": png(seven)}},
        {"files": {"file": png(255 - seven)}},
        {"files": {"file": blank}},
        {"content": png(seven)},
        {"content": png(seven), "headers": {"Content-Type": "image/png"}},
        {"json": encoded},
        *({"content": encode(Image.fromarray(seven), kind)} for kind in ("JPEG", "BMP", "GIF")),
    ]

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        for request in requests:
            headers = {"X-Request-ID": "r1", **request.pop("headers", {})}
            direct = await client.post("/predict", headers=headers, **request)
            assert direct.status_code == 200
            assert not by_the_app
            by_app = await client.post("/predict", headers=headers | BY_THE_APP, **request)
            assert comparable(direct) == comparable(by_app)
            assert by_the_app.pop() == "/predict"
        metrics = (await client.get("/metrics")).text
        assert f'path="/predict",status="200"}} {2 * len(requests)}.0' in metrics
        assert f"digits_queue_duration_seconds_count {2 * len(requests) - 2}.0" in metrics
        assert "http_requests_in_flight 1.0" in metrics  # this one

    run(check)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_health_check_gets_the_answer_of_the_app(method: str) -> None:
    """All paths, with the same body and headers. An option in the query, or CORS, is for the app."""

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        for path in map(bytes.decode, HEALTH_BODIES):
            direct = await client.request(method, path, headers={"X-Request-ID": "r1"})
            assert not by_the_app
            by_app = await client.request(method, path + "?x", headers={"X-Request-ID": "r1"})
            assert comparable(direct) == comparable(by_app)
            assert by_the_app.pop() == path

    run(check)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/predict?preview=true", {}),
        ("/predict", {"Content-Encoding": "gzip"}),
        ("/predict", {"Expect": "100-continue"}),
        ("/predict/batch", {}),
    ],
)
def test_an_unusual_request_is_left_to_the_app(path: str, headers: dict[str, str], seven: Grey) -> None:
    """Options, encodings and other paths."""

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        await client.post(path, content=png(seven), headers=headers)
        assert by_the_app == [path.partition("?")[0]]

    run(check)


def test_a_body_of_unknown_length_is_left_to_the_app(seven: Grey) -> None:
    """It comes in chunks, and may have any size."""

    async def parts() -> AsyncIterator[bytes]:
        yield png(seven)

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        assert (await client.post("/predict", content=parts())).json()["digit"] == 7
        assert by_the_app == ["/predict"]

    run(check)


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 400), (b"GIF89a", 422), (b"text", 415), (bytes(40_000), 415), (bytes(2_000_000), 413)]
)
def test_a_wrong_request_is_left_to_the_app(content: bytes, status: int) -> None:
    """It gets the error that it always gets, once."""

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        answer = await client.post("/predict", content=content)
        assert (answer.status_code, by_the_app) == (status, ["/predict"])
        assert answer.json()["status"] == status
        metrics = (await client.get("/metrics")).text
        assert f'path="/predict",status="{status}"}} 1.0' in metrics

    run(check, max_body_bytes=1_000_000)


def test_a_large_picture_is_left_to_the_app(seven: Grey) -> None:
    """It is decoded in a thread."""

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        answer = await client.post("/predict", content=png(seven.repeat(10, 0).repeat(10, 1)))
        assert answer.json()["digit"] == 7
        assert by_the_app == ["/predict"]

    run(check)


def test_keys_and_hosts_are_checked(seven: Grey) -> None:
    """A request with a wrong key or for another host is the app's to refuse. With the right ones, it is not."""

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        for key, host, status in ((KEY, "a.example", 200), (KEY, "b.example", 400), ("wrong", "a.example", 401)):
            headers = {"X-API-Key": key, "Host": host}
            assert (await client.post("/predict", content=png(seven), headers=headers)).status_code == status
            assert by_the_app == ([] if status == 200 else ["/predict"])
            by_the_app.clear()
        assert (await client.get("/readyz")).status_code == 200
        assert not by_the_app

    run(check, api_keys=KEY_HASH, allowed_hosts="a.example")


def test_pages_of_other_origins_may_read_every_answer(seven: Grey) -> None:
    """With CORS, a middleware must see every response, so the app answers everything."""

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        for answer in (
            await client.post("/predict", content=png(seven), headers={"Origin": "https://a.example"}),
            await client.get("/readyz", headers={"Origin": "https://a.example"}),
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert by_the_app == ["/predict", "/readyz"]

    run(check, cors_origins="https://a.example")


def test_a_full_service_refuses(seven: Grey) -> None:
    """The refusal is that of every overloaded service, counted and with Retry-After."""

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        answers = await asyncio.gather(*(client.post("/predict", content=png(seven)) for _ in range(40)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 503}
        refused = answers[statuses.index(503)]
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["type"] == "urn:problem-type:digitserve:overloaded"
        assert refused.json()["request_id"] == refused.headers["X-Request-ID"]
        assert not by_the_app
        metrics = (await client.get("/metrics")).text
        assert f'reason="overloaded"}} {statuses.count(503)}.0' in metrics

    run(check, max_inflight=2, batch_wait_ms=200)


def test_thousands_of_pipelined_health_checks_are_answered(server: Server) -> None:
    """They arrive in one packet, behind a picture that is still being read."""
    count = 3000
    checks = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * count
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"POST /predict?preview=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n." + checks)
        received = b""
        while received.count(b"HTTP/1.1 200 ") < count and (part := client.recv(1 << 20)):
            received += part
    assert received.startswith(b"HTTP/1.1 4")
    assert received.count(b"HTTP/1.1 200 ") == count


def test_what_follows_the_last_request_is_ignored(server: Server, seven: Grey) -> None:
    """A request after one with ``Connection: close`` is not answered."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(png(seven))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head + png(seven) + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while part := client.recv(65536):
            received += part
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in received


def test_a_slow_body_is_received_by_the_app(seven: Grey) -> None:
    """The server looks at each connection regularly. From then on the app waits for the body, and may refuse it."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(png(seven))

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(head + png(seven)[:10])
        await asyncio.sleep(0.1)
        assert not by_the_app
        await asyncio.sleep(2 * uvicorn_server.CHECK_INTERVAL_S)
        assert by_the_app == ["/predict"]
        writer.write(png(seven)[10:])
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()

    run(check)


def test_a_client_that_disconnects_before_its_body_is_complete_is_counted(seven: Grey) -> None:
    """As for every request whose client disconnects, the status is 499."""

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n.")
        await asyncio.sleep(0.1)
        writer.close()
        deadline = time.monotonic() + 5
        while 'path="/predict",status="499"} 1.0' not in (metrics := (await client.get("/metrics")).text):
            assert time.monotonic() < deadline, metrics
            await asyncio.sleep(0.05)

    run(check)


def test_a_failing_engine_gives_the_usual_503(seven: Grey, tmp_path: Path) -> None:
    """The problem names the cause, is counted once, and shows no traceback to the client."""
    with running(module="benchmarks.faulty_server", FAULTY_FILE=str(tmp_path / "fault"), DIGITS_FAULT_S="60") as server:
        (tmp_path / "fault").write_text("error")
        answers = [
            httpx.post(f"{server.url}/predict", content=png(seven), headers={"X-Request-ID": "r1", **headers})
            for headers in ({}, BY_THE_APP)
        ]
        assert [answer.status_code for answer in answers] == [503, 503]
        assert len({json.dumps(answer.json(), sort_keys=True) for answer in answers}) == 1
        assert answers[0].json()["type"] == "urn:problem-type:digitserve:engine-failed"
        assert 'reason="engine-failed"} 2.0' in httpx.get(f"{server.url}/metrics").text
