"""Answers HEAD as GET without a body, and OPTIONS with the methods that a path allows.

Health checks (HAProxy, ``wget --spider``) send HEAD. FastAPI's routes know only GET.
"""

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SHARED = ("path_label", "rejected", "route")  # what the app says about a request to the middleware around it


class Methods:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._answer_head(scope, receive, send)
        else:
            await self._answer_options(scope, receive, send)

    async def _answer_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        get = {**scope, "method": "GET"}
        try:
            await self.app(get, receive, send_without_body)
        finally:
            scope.update({key: get[key] for key in SHARED if key in get})

    async def _answer_options(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask the app. Its refusal, 405, names the methods in ``Allow``: then that is the answer."""
        answered = False

        async def send_allow(message: Message) -> None:
            nonlocal answered
            if answered:
                return
            headers = dict(message.get("headers", ()))
            if message["type"] == "http.response.start" and message["status"] == 405 and b"allow" in headers:
                answered = True
                allowed = {method.strip() for method in headers[b"allow"].decode("ascii").split(",")} | {"OPTIONS"}
                if "GET" in allowed:
                    allowed.add("HEAD")
                await Response(status_code=204, headers={"Allow": ", ".join(sorted(allowed))})(scope, receive, send)
            else:
                await send(message)

        await self.app(scope, receive, send_allow)
