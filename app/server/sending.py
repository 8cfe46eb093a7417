"""The sending half of a connection."""

import asyncio

import uvicorn

from app.server.exchange import format_lines

MAX_UNREAD_S = 60.0  # for which a client may leave a response unread


class SendingProtocol(asyncio.Protocol):
    """Sends responses no faster than the client reads them."""

    transport: asyncio.Transport
    discards = False  # nothing more is sent, and what still arrives is discarded

    def __init__(self, server_state: uvicorn.server.ServerState) -> None:
        self.server_state = server_state
        self._drained = asyncio.Event()
        self._drained.set()
        self._unread_since: float | None = None

    def connection_lost(self, error: Exception | None) -> None:
        self._drained.set()

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.discards or self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is closing."""
        if not self.is_closing:
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough of what was sent."""
        await self._drained.wait()

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def format_default_headers(self) -> bytes:
        """Return the header lines that every response has: the date."""
        return format_lines(self.server_state.default_headers)

    def is_left_unread(self, now: float) -> bool:
        """Return whether the client has not read what was sent for too long. Call it regularly."""
        if self._drained.is_set():
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        return self._unread_since is not None and now - self._unread_since > MAX_UNREAD_S
