"""Reads the responses of a running service."""

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from app.errors import ServiceError

WRONG_ADDRESS_STATUSES = (301, 302, 303, 307, 308, 403, 404, 405, 407)  # never caused by a picture


class RefusedError(Exception):
    """The service refused a request. Status 0 means that it broke the connection each time."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def describe_error(error: httpx.RequestError) -> str:
    """Return the message of an error, or its kind if it has none."""
    return str(error) or type(error).__name__


def parse_response(response: httpx.Response) -> Any:
    """Return the JSON of a response.

    Raises:
        RefusedError: The service refused the request.
        ServiceError: The response is not from digitserve, or the key is wrong.
    """
    request = f"{response.request.method} {response.request.url}"
    if response.status_code == 401:
        raise ServiceError(f"{request}: {read_detail(response)} Set the key with --api-key or DIGITS_API_KEY.")
    if response.status_code in WRONG_ADDRESS_STATUSES:
        target = response.headers.get("Location")
        raise ServiceError(f"{request}: {read_detail(response)}" + (f" It is at {target}." if target else ""))
    if not response.is_success:
        raise RefusedError(response.status_code, read_detail(response))
    try:
        return response.json()
    except ValueError:
        raise ServiceError(f"the answer to {request} is not JSON") from None


def parse_answer(answer: Any, request: httpx.Request) -> dict[str, Any] | str:
    """Return the answer for a picture, or the detail of the problem that stands in its place.

    Raises:
        ServiceError: It is neither.
    """
    if isinstance(answer, dict):
        if "accepted" in answer:
            return answer
        if "detail" in answer:
            return str(answer["detail"])
    raise ServiceError(f"the answer to {request.method} {request.url} is not from digitserve")


def read_detail(response: httpx.Response) -> str:
    """Return the detail of a problem, or the name of the status."""
    with suppress(ValueError, KeyError, TypeError):
        return str(response.json()["detail"])
    return f"{response.status_code} {response.reason_phrase}."


def parse_retry_after(response: httpx.Response) -> float | None:
    """Return the seconds in ``Retry-After``, which may be a number or a date."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None
