"""The short way to ``POST /predict``, for the form that nearly every request has.

Routing a request, solving its dependencies and writing its answer take FastAPI longer than reading a digit takes us. A
request without a query needs none of that, and goes to the same function directly; every other request goes on.
"""

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from app.errors import DigitserveError
from app.problems import answer_to, on_unforeseen
from app.routes.predict import read_digit

PATH = "/predict"


class Shortcut:
    """ASGI middleware around the whole app, with nothing but ``Observe`` outside it."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["path"] != scope["root_path"] + PATH
            or scope["method"] != "POST"
            or scope["query_string"]
        ):
            await self.app(scope, receive, send)
            return
        scope["path_label"] = PATH
        try:
            body, timing = await read_digit(scope, receive, scope["state"]["service"])
        except DigitserveError as error:
            await answer_to(scope, error)(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:
            await (await on_unforeseen(Request(scope), error))(scope, receive, send)
            raise  # for the server's log
        else:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [
                        (b"content-type", b"application/json"),
                        (b"content-length", str(len(body)).encode()),
                        (b"server-timing", timing.encode()),
                    ],
                }
            )
            await send({"type": "http.response.body", "body": body})
