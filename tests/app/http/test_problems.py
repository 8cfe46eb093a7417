"""The table of problems, and unexpected errors, which are not in it."""

import asyncio
import inspect

import httpx
from fastapi import FastAPI

from app import errors
from app.http.middleware.request_log import RequestLog
from app.http.problems import TABLE, add_error_handlers
from app.observability.metrics import Metrics


def test_every_error_of_a_request_is_in_the_table() -> None:
    """Every error that a request can raise has a status. Errors of start-up and of commands have none."""
    leaves = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.DigitserveError) and not kind.__subclasses__()
    }
    assert set(TABLE) == {kind for kind in leaves if not issubclass(kind, errors.StartupError | errors.CommandError)}


def test_every_problem_has_its_own_type() -> None:
    """No two errors share a type."""
    slugs = [slug for _, slug, _ in TABLE.values()]
    assert len(set(slugs)) == len(slugs)


def get(path: str) -> httpx.Response:
    """Send a request to an app whose paths fail, without a network."""
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/fault")
    async def fault() -> None:
        raise ZeroDivisionError("/secret/path.py is at fault")

    @app.get("/overloaded")
    async def overloaded() -> None:
        raise errors.OverloadedError("Too many requests are waiting.")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(RequestLog(app, Metrics(), None), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers={"X-Request-ID": "r1"})

    return asyncio.run(ask())


def test_an_unexpected_error_reveals_nothing() -> None:
    """The response is a 500 problem with the request ID, but without message, path or traceback."""
    answer = get("/fault")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get_list("X-Request-ID") == ["r1"]
    assert answer.json()["request_id"] == "r1"
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text


def test_overload_says_when_to_retry() -> None:
    """A 503 has the header Retry-After."""
    answer = get("/overloaded")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers.get_list("X-Request-ID") == ["r1"]
    assert answer.json()["type"] == "urn:problem-type:digitserve:overloaded"
