"""Checks the API key and the host of each request.

The service knows only the SHA-256 hashes of its keys. Health checks never need a key. Two settings decide whether the
metrics and the pages need one.
"""

import hashlib
import hmac
import re
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import DigitserveError, StartupError, UnauthorizedError, UnknownHostError
from app.http.paths import HEALTH_PATHS, METRICS_PATHS, PAGE_PATHS, label_path
from app.http.problems import problem_response

ASSETS_PREFIX = "/assets/"
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class Auth:
    """ASGI middleware that refuses requests without a valid key or for an unknown host.

    Args:
        keys: SHA-256 of each valid key. If empty, no request needs a key.
        hosts: Host names to serve. ``*.example.org`` is example.org and all its subdomains. If empty, any is served.
        open_paths: The paths that need no key.
        open_assets: Whether the files of the pages need none.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: frozenset[bytes],
        hosts: tuple[str, ...],
        open_paths: frozenset[str],
        open_assets: bool,
    ) -> None:
        self.app, self.keys, self.hosts = app, keys, hosts
        self.open_paths, self.open_assets = open_paths, open_assets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (error := self.check(scope)):
            scope["path_label"] = label_path(get_path(scope))
            await problem_response(scope, error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def check(self, scope: Scope) -> DigitserveError | None:
        """Return the error that refuses a request, or None if it may pass."""
        path = get_path(scope)
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if self.hosts and path not in HEALTH_PATHS and not (len(hosts) == 1 and self.is_known_host(hosts[0])):
            return UnknownHostError("This service does not serve that host.")
        if not self.keys or path in self.open_paths or (self.open_assets and path.startswith(ASSETS_PREFIX)):
            return None
        kind, _, token = get_header(scope, b"authorization").partition(b" ")
        key = token.strip() if kind.lower() == b"bearer" else get_header(scope, b"x-api-key")
        if not key:
            return UnauthorizedError("Send an API key, as Authorization: Bearer KEY or X-API-Key: KEY.")
        hashed = hashlib.sha256(key).digest()
        if not sum(hmac.compare_digest(hashed, known) for known in self.keys):  # always all, for constant time
            return UnauthorizedError("The API key is unknown.")
        return None

    def is_known_host(self, host: bytes) -> bool:
        """Return whether a Host header names a host to serve."""
        name = host.decode("latin-1").lower()
        name = re.sub(r":\d+$", "", name)
        return any(
            name == known or (known.startswith("*.") and (name == known[2:] or name.endswith(known[1:])))
            for known in self.hosts
        )


def list_open_paths(open_metrics: bool, open_pages: bool) -> frozenset[str]:
    """Return the paths that need no key: those of health, and if these are open, the metrics and the pages."""
    return HEALTH_PATHS | (METRICS_PATHS if open_metrics else set()) | (PAGE_PATHS if open_pages else set())


def get_path(scope: Scope) -> str:
    """Return the path without the prefix of a proxy."""
    return str(scope["path"].removeprefix(scope["root_path"]))


def get_header(scope: Scope, wanted: bytes) -> bytes:
    """Return the value of a header, or nothing if the request does not have it."""
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def read_keys(setting: str) -> frozenset[bytes]:
    """Read the hashes of the API keys.

    Args:
        setting: The hashes, separated by commas, or the path of a file with one hash per line. In the file, ``#``
            starts a comment.

    Raises:
        StartupError: The setting is neither, or the file cannot be read.
    """
    if not setting:
        return frozenset()
    words = [word.strip() for word in setting.split(",")]
    if not all(SHA256.fullmatch(word) for word in words):
        try:
            lines = Path(setting).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
            raise StartupError(
                f"DIGITS_API_KEYS is neither a list of SHA-256 hashes nor a readable file: {reason}"
            ) from None
        words = [word for line in lines if (word := line.partition("#")[0].strip())]
    wrong = [number for number, word in enumerate(words, 1) if not SHA256.fullmatch(word)]
    if wrong or not words:
        what = f"entry {wrong[0]} is not a SHA-256 hash (64 hexadecimal digits)" if wrong else "it has no hash"
        raise StartupError(f"DIGITS_API_KEYS: {what}. Make one with: printf %s KEY | sha256sum")
    return frozenset(bytes.fromhex(word) for word in words)


def parse_list(setting: str) -> tuple[str, ...]:
    """Parse a setting that is a comma-separated list, into lower case."""
    return tuple(word.strip().lower() for word in setting.split(",") if word.strip())
