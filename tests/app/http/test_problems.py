"""The table of problems, and the fault that is not in it."""

import asyncio
import inspect

import httpx
from fastapi import FastAPI

from app import errors
from app.http import problems
from app.observability.metrics import Metrics
from app.http.middleware.request_log import Observe
from app.http.problems import TABLE


def test_every_error_of_a_request_is_in_the_table() -> None:
    """Whatever request code raises on purpose has a status; what stops a start, or a command, has none."""
    leaves = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.DigitserveError) and not kind.__subclasses__()
    }
    assert set(TABLE) == {kind for kind in leaves if not issubclass(kind, errors.StartupError | errors.CommandError)}


def test_types_tell_apart() -> None:
    """No two errors share a type."""
    slugs = [slug for _, slug, _ in TABLE.values()]
    assert len(set(slugs)) == len(slugs)


def get(path: str) -> httpx.Response:
    """Ask an app whose addresses fail, without a network."""
    app = FastAPI()
    problems.install(app)

    @app.get("/fault")
    async def fault() -> None:
        raise ZeroDivisionError("/secret/path.py is at fault")

    @app.get("/overloaded")
    async def overloaded() -> None:
        raise errors.OverloadedError("Too many requests wait already.")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Observe(app, Metrics(), None), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers={"X-Request-ID": "r1"})

    return asyncio.run(ask())


def test_an_unforeseen_fault_tells_nothing_of_itself() -> None:
    """500 as a problem with the request's id; neither message, nor path, nor traceback."""
    answer = get("/fault")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get_list("X-Request-ID") == ["r1"]
    assert answer.json()["request_id"] == "r1"
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text


def test_overload_says_when_to_come_again() -> None:
    """503 has Retry-After."""
    answer = get("/overloaded")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers.get_list("X-Request-ID") == ["r1"]
    assert answer.json()["type"] == "urn:problem-type:digitserve:overloaded"
