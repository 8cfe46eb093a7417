"""The short way to ``POST /predict`` and ``/v2/models/NAME/infer``, for the form that nearly every request has.

Routing a request, solving its dependencies and writing its answer take FastAPI longer than reading a digit takes us. A
request without a query needs none of that, and goes to the same function directly; every other request goes on.
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

Answer = Callable[[Scope, Receive, ServiceState], Awaitable[tuple[bytes, RawHeaders]]]


class FastPath:
    """ASGI middleware around the whole app, with nothing but ``Observe`` outside it."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = None
        if scope["type"] == "http" and scope["method"] == "POST" and not scope["query_string"]:
            service: ServiceState = scope["state"]["service"]
            answer = answers(scope, service)
        if answer is None:
            await self.app(scope, receive, send)
            return
        try:
            body, headers = await answer(scope, receive, service)
        except DigitserveError as error:
            await problem_response(scope, error)(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:
            await (await on_unexpected_error(Request(scope), error))(scope, receive, send)
            raise  # for the server's log
        else:
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def answers(scope: Scope, service: ServiceState) -> Answer | None:
    """What answers a POST to this address, if the short way leads there."""
    path = scope["path"].removeprefix(scope["root_path"])
    if path == "/predict":
        scope["path_label"] = path
        return read_digit
    name = service.model.name
    if path.startswith("/v2") and path == f"/v2/models/{name}/infer":
        scope["path_label"] = "/v2/models/{name}/infer"
        return partial(read_tensor, name=name)
    return None
