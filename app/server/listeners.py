"""The sockets on which the service listens."""

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from app.errors import PortInUseError, StartupError

SO_ATTACH_FILTER = 26  # from asm-generic/socket.h


@contextmanager
def open_listeners(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Bind a socket for each address of a host, and close them at the end of the block. Nothing listens on them yet.

    Args:
        host: An address or a name. ``::`` means every interface, with IPv6 and IPv4. Each gets its own socket, because
            one socket for both would show clients with IPv4 under other addresses, such as ::ffff:127.0.0.1.
        port: 0 picks a free one.

    Raises:
        PortInUseError: Another program listens on the port.
        StartupError: This machine does not have the address, or this user may not use the port.
    """
    host = host.removeprefix("[").removesuffix("]")
    where = f"{host} port {port}"
    try:
        found = [
            address
            for name in (("0.0.0.0", "::") if host == "::" else (host,))
            for address in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ]
    except OSError as error:
        raise StartupError(f"cannot listen on {where}: {error.strerror}") from None
    listeners: list[socket.socket] = []
    missing = ""
    with ExitStack() as stack:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                listener = stack.enter_context(socket.socket(family, kind, protocol))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                same_port = listeners[0].getsockname()[1] if listeners else port
                listener.bind((address[0], same_port, *address[2:]))
            except OSError as error:
                missing = error.strerror or str(error)
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    in_use = error.errno == errno.EADDRINUSE
                    raise (PortInUseError if in_use else StartupError)(f"cannot listen on {where}: {missing}") from None
            else:
                listeners.append(listener)
        if not listeners:
            raise StartupError(f"cannot listen on {where}: {missing}")
        yield listeners


def describe(listeners: Sequence[socket.socket]) -> str:
    """Return the URL of the first socket."""
    host, port = listeners[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def stop_new_connections(listener: int) -> None:
    """Make the kernel drop new connections to a listening socket. Those that wait to be accepted stay. Linux only.

    Closing a socket loses the connections that wait to be accepted, and one more can always arrive between the last
    accept and the close: without this, 3 of 20 shutdowns under load lost a request. A filter therefore drops the
    packets that open a connection. The client sends the packet again, and finds the socket closed.
    """
    if not sys.platform.startswith("linux"):
        return
    # Classic BPF (linux/filter.h): load byte 13 of the TCP header, keep SYN and ACK, drop if only SYN is set.
    code = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in code))
    with socket.socket(fileno=os.dup(listener)) as duplicate, suppress(OSError):
        duplicate.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 5, ctypes.addressof(program)))
