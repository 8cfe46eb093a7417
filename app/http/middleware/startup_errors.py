"""Reports an expected start-up error in one line."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import StartupError


class StartupErrors:
    """ASGI middleware: reports a StartupError to the server in one line. Starlette would report a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        failure: Message | None = None

        async def hold_failure(message: Message) -> None:
            nonlocal failure
            if message["type"] == "lifespan.startup.failed":
                failure = message
            else:
                await send(message)

        try:
            await self.app(scope, receive, hold_failure)
        except StartupError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        except BaseException:
            if failure:
                await send(failure)
            raise
