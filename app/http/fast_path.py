"""A fast path around FastAPI for ``POST /predict`` and ``POST /v2/models/NAME/infer`` without a query.

FastAPI needs longer to route a request, resolve its dependencies and write its response than we need to read a digit. A
request without a query needs none of that: it goes straight to the function that the route would call.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from app.errors import DigitserveError
from app.http.problems import on_unexpected_error, problem_response
from app.http.responses import RawHeaders
from app.http.routes.open_inference import read_tensor
from app.http.routes.predict import read_digit
from app.http.state import ServiceState

Handler = Callable[[Scope, Receive, ServiceState], Awaitable[tuple[bytes, RawHeaders]]]


class FastPath:
    """ASGI middleware directly around the FastAPI app. It passes on every request that it does not answer."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = None
        if scope["type"] == "http" and scope["method"] == "POST" and not scope["query_string"]:
            service: ServiceState = scope["state"]["service"]
            handler = select_handler(scope, service)
        if handler is None:
            await self.app(scope, receive, send)
            return
        try:
            body, headers = await handler(scope, receive, service)
        except DigitserveError as error:
            await problem_response(scope, error)(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:
            await (await on_unexpected_error(Request(scope), error))(scope, receive, send)
            raise  # so that the server logs it
        else:
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def select_handler(scope: Scope, service: ServiceState) -> Handler | None:
    """Return the handler of a POST to this path, or None if the path is not on the fast path."""
    path = scope["path"].removeprefix(scope["root_path"])
    if path == "/predict":
        scope["path_label"] = path
        return read_digit
    name = service.model.name
    if path.startswith("/v2") and path == f"/v2/models/{name}/infer":
        scope["path_label"] = "/v2/models/{name}/infer"
        return partial(read_tensor, name=name)
    return None
