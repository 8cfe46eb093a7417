"""One table: exception -> status, type and title. Every error that a client sees is made here (RFC 9457).

What a problem says is the exception's own message where that was written for the client, and a fixed sentence where
it was not: no traceback and no path ever leaves.
"""

import http
import logging
from random import getrandbits
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from app import errors
from app.errors import DigitserveError
from app.schemas import Problem

logger = logging.getLogger(__name__)

# exception: (status, slug of the type, title)
TABLE: dict[type[Exception], tuple[int, str, str]] = {
    errors.MalformedRequestError: (400, "malformed-request", "The request is malformed"),
    errors.UnauthorizedError: (401, "unauthorized", "A key is needed"),
    errors.UnknownHostError: (400, "unknown-host", "Not a host of this service"),
    errors.UnknownModelError: (404, "unknown-model", "There is no such model here"),
    errors.SlowRequestError: (408, "too-slow", "The request came too slowly"),
    errors.BodyTooLargeError: (413, "body-too-large", "The body is too large"),
    errors.UnsupportedMediaError: (415, "unsupported-media", "Not an image of a type that we take"),
    errors.BrokenImageError: (422, "broken-image", "The image cannot be decoded"),
    errors.ImageSizeError: (422, "image-size", "The image is outside the pixel limits"),
    errors.CrowdedPictureError: (422, "crowded-picture", "There is too much on the picture"),
    errors.OverloadedError: (503, "overloaded", "The service is overloaded"),
    errors.NotReadyError: (503, "not-ready", "The service is not ready"),
    errors.EngineFailedError: (503, "engine-failed", "The engine failed"),
    errors.DeadlineError: (504, "deadline", "The answer would have come too late"),
}
HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    # What is left of the body is not worth reading, and may have no end.
    408: {"Connection": "close"},
    413: {"Connection": "close"},
    503: {"Retry-After": "1"},  # seconds
}
REJECTED = frozenset({401, 408, 503, 504})  # for what the service can bear, or whom it knows; counted by slug
# What is answered to those whose request never became one: status -> slug, title, detail.
UNHEARD = {
    400: ("malformed-http", "Not HTTP as it is written down", "The request is not valid HTTP/1.1."),
    408: ("too-slow", "The request came too slowly", "The head of a request must come within a few seconds."),
    431: ("head-too-large", "The head is too large", "The head of a request may have 64 KiB."),
    503: ("overloaded", "The service is overloaded", "Too many connections are open already."),
}
TITLES = {404: "There is nothing at this address", 405: "This address does not take that method"}


def problem(
    scope: Scope, status: int, slug: str, title: str, detail: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Answer with an error: as a problem, or under ``/v2`` as that protocol has it."""
    if scope["path"].startswith(f"{scope['root_path']}/v2"):
        return JSONResponse({"error": detail}, status, headers=headers)
    body = described(scope, status, slug, title, detail)
    return JSONResponse(body.model_dump(), status, headers=headers, media_type="application/problem+json")


def described(scope: Scope, status: int, slug: str, title: str, detail: str) -> Problem:
    return Problem(
        type=f"urn:problem-type:digitserve:{slug}",
        title=title,
        status=status,
        detail=detail,
        request_id=scope["state"]["request_id"],
    )


def answer_to(scope: Scope, error: DigitserveError) -> JSONResponse:
    """Answer with an error of the table."""
    status, slug, title = TABLE[type(error)]
    headers = HEADERS.get(status)
    if status in REJECTED:
        scope["rejected"] = slug
    if isinstance(error, errors.OverloadedError):
        headers = {"Retry-After": str(error.retry_after)}
    return problem(scope, status, slug, title, str(error), headers)


def unheard(status: int) -> bytes:
    """A whole answer, head and all, to what is no request, or never became one; the connection ends with it."""
    slug, title, detail = UNHEARD[status]
    request_id = f"{getrandbits(64):016x}"
    kind = f"urn:problem-type:digitserve:{slug}"
    problem = Problem(type=kind, title=title, status=status, detail=detail, request_id=request_id)
    body = problem.model_dump_json().encode()
    retry = "retry-after: 1\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\n{retry}connection: close\r\n\r\n"
    )
    return head.encode() + body


def in_place_of_answer(scope: Scope, error: DigitserveError) -> Problem:
    """An error of the table as one of several answers."""
    return described(scope, *TABLE[type(error)], str(error))


async def on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DigitserveError)
    return answer_to(request.scope, error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses: no such address, no such method."""
    assert isinstance(error, HTTPException)
    phrase = http.HTTPStatus(error.status_code).phrase
    title = TITLES.get(error.status_code, phrase)
    slug = phrase.lower().replace(" ", "-")
    detail = f"{request.method} {request.url.path[:200]}: {error.detail}. The addresses are listed at /docs."
    return problem(request.scope, error.status_code, slug, title, detail, dict(error.headers or {}))


async def on_invalid(request: Request, error: Exception) -> Response:
    """Answer what does not fit a route's parameters: which one, and why; never what was sent."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    detail = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}."
    return problem(request.scope, *TABLE[errors.MalformedRequestError], detail)


async def on_disconnect(request: Request, error: Exception) -> Response:
    """The client left before its body was complete; nobody reads this answer."""
    return Response(status_code=400)


async def on_unforeseen(request: Request, error: Exception) -> Response:
    """Answer a fault of ours without a word of its cause, which the server logs."""
    return problem(
        request.scope,
        500,
        "internal-error",
        "Something went wrong here",
        "The fault is ours. Name the request_id if you report it.",
    )


def install(app: FastAPI) -> None:
    """Make these the answers of an app."""
    for kind in TABLE:
        app.add_exception_handler(kind, on_domain_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(Exception, on_unforeseen)


# What any address that takes pictures may answer instead.
TAKING_PICTURES = (400, 401, 408, 413, 415, 503, 504)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors for the OpenAPI document of a route."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        titles = [title for code, _, title in TABLE.values() if code == status]
        described[status] = {"model": Problem, "description": "; ".join(titles)}
    return described
