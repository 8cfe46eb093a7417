"""A service in the process of the test, for what cannot be seen from outside."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn

from app.main import create_app
from app.server import uvicorn_server
from app.server.run import server_options
from app.settings import Settings


class Service:
    """A service in this process. It records the paths of the requests that reach the app."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = create_app(settings)
        self.by_the_app: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.by_the_app.append(scope["path"])
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[httpx.AsyncClient]:
        """Serve on a free port, and give a client."""
        config = uvicorn.Config(self, **server_options(self._settings))
        server = uvicorn_server.Server(config, drain_s=0, grace_s=2)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            while not server.started:  # noqa: ASYNC110  # uvicorn sets no event
                await asyncio.sleep(0.01)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                yield client
            server.should_exit = True
            await serving


def run(check: Callable[[httpx.AsyncClient, list[str]], Awaitable[None]], **settings: Any) -> None:
    """Run a check against a service with these settings."""

    async def serve_and_check() -> None:
        service = Service(Settings(log_level="error", **settings))
        async with service.serve() as client:
            await check(client, service.by_the_app)

    asyncio.run(asyncio.wait_for(serve_and_check(), 60))
