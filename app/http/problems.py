"""Maps exceptions to error answers: one table gives each its status, type and title (RFC 9457, problem+json).

An error's detail is the exception's message if that was written for the client, and a fixed sentence otherwise. No
traceback and no path ever reaches the client.
"""

import http
import logging
from random import getrandbits
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from app import errors
from app.errors import DigitserveError
from app.http.schemas import Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# exception: (status, slug of the type, title)
TABLE: dict[type[Exception], tuple[int, str, str]] = {
    errors.MalformedRequestError: (400, "malformed-request", "The request is malformed"),
    errors.UnauthorizedError: (401, "unauthorized", "An API key is required"),
    errors.UnknownHostError: (400, "unknown-host", "Unknown host"),
    errors.UnknownModelError: (404, "unknown-model", "Unknown model"),
    errors.SlowRequestError: (408, "too-slow", "The request arrived too slowly"),
    errors.BodyTooLargeError: (413, "body-too-large", "The body is too large"),
    errors.UnsupportedMediaError: (415, "unsupported-media", "Unsupported image type"),
    errors.UnsupportedEncodingError: (415, "unsupported-encoding", "Unsupported content encoding"),
    errors.BrokenImageError: (422, "broken-image", "The image cannot be decoded"),
    errors.ImageSizeError: (422, "image-size", "The image has too many pixels"),
    errors.CrowdedPictureError: (422, "crowded-picture", "The picture shows too much"),
    errors.OverloadedError: (503, "overloaded", "The service is overloaded"),
    errors.NotReadyError: (503, "not-ready", "The service is not ready"),
    errors.EngineFailedError: (503, "engine-failed", "The engine failed"),
    errors.DeadlineError: (504, "deadline", "The deadline passed"),
}
HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    # The rest of the body is not worth reading, and may be endless.
    408: {"Connection": "close"},
    413: {"Connection": "close"},
    503: {"Retry-After": "1"},  # seconds
}
REJECTED = frozenset({401, 408, 503, 504})  # refusals because of load, slowness or a missing key; counted by slug
# Answers to connections that never sent a complete request: status -> (slug, title, detail).
CONNECTION_PROBLEMS = {
    400: ("malformed-http", "Invalid HTTP", "The request is not valid HTTP/1.1."),
    408: ("too-slow", "The request arrived too slowly", "The head of the request did not arrive in time."),
    431: ("head-too-large", "The head is too large", "The head of a request may have at most 64 KiB."),
    503: ("overloaded", "The service is overloaded", "Too many connections are open."),
}
TITLES = {404: "Not found", 405: "Method not allowed"}


def make_problem(status: int, slug: str, title: str, detail: str, request_id: str) -> Problem:
    """Describe an error as RFC 9457 asks for."""
    kind = f"urn:problem-type:digitserve:{slug}"
    return Problem(type=kind, title=title, status=status, detail=detail, request_id=request_id)


def error_response(
    scope: Scope, status: int, slug: str, title: str, detail: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Answer with an error: as a problem, or under ``/v2`` in that protocol's form."""
    if scope["path"].startswith(f"{scope['root_path']}/v2"):
        return JSONResponse({"error": detail}, status, headers=headers)
    problem = make_problem(status, slug, title, detail, scope["state"]["request_id"])
    return JSONResponse(problem.model_dump(), status, headers=headers, media_type=MEDIA_TYPE)


def problem_response(scope: Scope, error: DigitserveError) -> JSONResponse:
    """Answer with an error of the table."""
    status, slug, title = TABLE[type(error)]
    headers = HEADERS.get(status)
    if status in REJECTED:
        scope["rejected"] = slug
    if isinstance(error, errors.OverloadedError):
        headers = {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.UnsupportedEncodingError):
        headers = {"Accept-Encoding": "gzip, deflate"}
    return error_response(scope, status, slug, title, str(error), headers)


def problem_of_item(scope: Scope, error: DigitserveError) -> Problem:
    """Describe an error of the table as the answer for one of several pictures."""
    return make_problem(*TABLE[type(error)], str(error), scope["state"]["request_id"])


def connection_problem(status: int) -> bytes:
    """Return the response for a connection that never sent a complete request. It says that the connection closes."""
    request_id = f"{getrandbits(64):016x}"
    body = make_problem(status, *CONNECTION_PROBLEMS[status], request_id).model_dump_json().encode()
    retry = "retry-after: 1\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\n{retry}connection: close\r\n\r\n"
    )
    return head.encode() + body


async def on_domain_error(request: Request, error: Exception) -> Response:
    """Answer with an error of the table."""
    assert isinstance(error, DigitserveError)
    return problem_response(request.scope, error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: an unknown path or method."""
    assert isinstance(error, HTTPException)
    phrase = http.HTTPStatus(error.status_code).phrase
    title = TITLES.get(error.status_code, phrase)
    slug = phrase.lower().replace(" ", "-")
    detail = f"{request.method} {request.url.path[:200]}: {error.detail}. See /docs for all paths."
    return error_response(request.scope, error.status_code, slug, title, detail, dict(error.headers or {}))


def internal_error_response(scope: Scope) -> JSONResponse:
    """Answer an unexpected exception without its cause, which the server logs."""
    detail = "This is our fault. If you report it, include the request_id."
    return error_response(scope, 500, "internal-error", "Internal error", detail)


async def on_unexpected_error(request: Request, error: Exception) -> Response:
    """Answer an unexpected exception."""
    return internal_error_response(request.scope)


def add_error_handlers(app: FastAPI) -> None:
    """Make an app answer every exception with a problem."""
    for kind in TABLE:
        app.add_exception_handler(kind, on_domain_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_unexpected_error)


# The errors that every path which accepts pictures may answer with.
PICTURE_ERRORS = (400, 401, 408, 413, 415, 503, 504)


def describe_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors for the OpenAPI document of a route."""
    descriptions: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        titles = [title for code, _, title in TABLE.values() if code == status]
        descriptions[status] = {"model": Problem, "description": "; ".join(titles)}
    return descriptions
