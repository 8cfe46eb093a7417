"""The floor: httptools parses each request, and a constant answer goes out, without a framework and without ASGI."""

import asyncio
import sys

import httptools
import uvloop

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"digit":0}'


class Connection(asyncio.Protocol):
    """Answers each request when it is complete."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # no other kind is used
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Discard it."""

    def on_message_complete(self) -> None:
        self._transport.write(ANSWER)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
