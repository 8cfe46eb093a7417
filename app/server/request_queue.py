"""Answers the requests on a connection one after the other: directly if that is possible, otherwise with the app."""

import asyncio
from collections import deque
from typing import Any

from app.http.middleware.request_log import CLIENT_DISCONNECTED
from app.server.exchange import AsgiApp, Exchange, make_scope


class RequestQueue:
    """The requests on one connection whose response is not complete.

    Args:
        app: The ASGI app.
        root_path: The path under which a proxy exposes it.
        app_state: What the app's lifespan passes to each request.
        tasks: The server's tasks, which it waits for when it stops.
        server: Address and port of the server, or None on a Unix socket.
    """

    def __init__(
        self,
        app: AsgiApp,
        root_path: str,
        app_state: dict[str, Any],
        tasks: set[asyncio.Task[None]],
        server: tuple[str, int] | None,
    ) -> None:
        self._app, self._root_path, self._app_state, self._tasks = app, root_path, app_state, tasks
        self._server = server
        self.current: Exchange | None = None  # the last one that was begun
        self.waiting: deque[Exchange] = deque()

    @property
    def due(self) -> Exchange | None:
        """The request that is being answered, if any."""
        return None if self.current is None or self.current.response_complete else self.current

    @property
    def unstarted(self) -> Exchange | None:
        """The request that can be answered directly when its body is complete, if there is one."""
        return None if self.current is None or self.current.started else self.current

    @property
    def last(self) -> Exchange | None:
        """The request that will be answered last."""
        return self.waiting[-1] if self.waiting else self.due

    def add(self, exchange: Exchange) -> None:
        """Add a request whose head is complete."""
        if self.due:
            self.waiting.append(exchange)
        else:
            self._start(exchange)

    def on_body_complete(self, exchange: Exchange) -> None:
        """Answer a request now if only its body was missing."""
        if exchange is self.unstarted:
            self._start(exchange)

    def leave_to_app(self) -> bool:
        """Do not wait for a body any longer. The app may refuse it before it is complete. Return whether one waited."""
        if unstarted := self.unstarted:
            self._start_task(unstarted)
            return True
        return False

    def go_on(self) -> None:
        """Start the next request, if one waits."""
        if self.waiting:
            self.current = self.waiting.popleft()
            # Not at once: a direct answer would call this again, as many times as requests wait.
            asyncio.get_running_loop().call_soon(self._start, self.current)

    def disconnect(self) -> None:
        """Tell all requests that the client is gone."""
        for exchange in (self.due, *self.waiting):
            if exchange:
                exchange.disconnect(CLIENT_DISCONNECTED)
        self.waiting.clear()
        self.leave_to_app()  # which counts and logs the request

    def _start(self, exchange: Exchange) -> None:
        if exchange.started:
            return
        self.current = exchange
        if exchange.direct_answer:
            if not exchange.body_complete:
                return
            exchange.started = True
            if exchange.direct_answer(exchange):
                return
        self._start_task(exchange)

    def _start_task(self, exchange: Exchange) -> None:
        """Start the task in which the app answers a request."""
        exchange.started = True
        scope = make_scope(exchange.head, self._root_path)
        scope["server"], scope["client"], scope["state"] = self._server, exchange.client, self._app_state.copy()
        exchange.work = task = asyncio.get_running_loop().create_task(exchange.run(self._app, scope))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
