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
from app.problems import answer_to, on_unforeseen
from app.routes.body import RawHeaders
from app.routes.openinference import read_tensor
from app.routes.predict import read_digit
from app.service import Service

Answer = Callable[[Scope, Receive, Service], Awaitable[tuple[bytes, RawHeaders]]]


class Shortcut:
    """ASGI middleware around the whole app, with nothing but ``Observe`` outside it."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = None
        if scope["type"] == "http" and scope["method"] == "POST" and not scope["query_string"]:
            service: Service = scope["state"]["service"]
            answer = answers(scope, service)
        if answer is None:
            await self.app(scope, receive, send)
            return
        try:
            body, headers = await answer(scope, receive, service)
        except DigitserveError as error:
            await answer_to(scope, error)(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:
            await (await on_unforeseen(Request(scope), error))(scope, receive, send)
            raise  # for the server's log
        else:
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def answers(scope: Scope, service: Service) -> Answer | None:
    """What answers a POST to this address, if the short way leads there."""
    path = scope["path"].removeprefix(scope["root_path"])
    if path == "/predict":
        scope["path_label"] = path
        return read_digit
    name = service.model.info.model.name
    if path.startswith("/v2") and path == f"/v2/models/{name}/infer":
        scope["path_label"] = "/v2/models/{name}/infer"
        return partial(read_tensor, name=name)
    return None
