"""Who may come in: requests for our hosts, with one of our keys.

Keys are kept as SHA-256 hashes. What watches the service comes in without one: health always, metrics and pages by
setting.
"""

import hashlib
import hmac
import re
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import DigitserveError, StartupError, UnauthorizedError, UnknownHostError
from app.http.problems import problem_response

HEALTH = frozenset({"/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"})
METRICS = frozenset({"/metrics"})
PAGES = frozenset({"/", "/docs", "/redoc", "/openapi.json", "/favicon.ico", "/redoc/logo-mini.svg"})
ASSETS = "/assets/"
HASH = re.compile(r"[0-9a-fA-F]{64}")


class Auth:
    """ASGI middleware, with nothing but ``RequestLog`` outside it.

    Args:
        keys: SHA-256 of each key that is let in; none lets everybody in.
        hosts: names that are answered for, with ``*.`` before one for all under it; none is every name.
        open_metrics, open_pages: whether these need no key.
    """

    def __init__(
        self, app: ASGIApp, keys: frozenset[bytes], hosts: tuple[str, ...], open_metrics: bool, open_pages: bool
    ) -> None:
        self.app, self.keys, self.hosts = app, keys, hosts
        self.open = HEALTH | (METRICS if open_metrics else frozenset()) | (PAGES if open_pages else frozenset())
        self.open_pages = open_pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (error := self.refusal(scope)):
            await problem_response(scope, error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def refusal(self, scope: Scope) -> DigitserveError | None:
        """Why a request may not come in, or None where it may."""
        path = scope["path"].removeprefix(scope["root_path"])
        if self.hosts and path not in HEALTH and not self.knows_host(get_header(scope, b"host")):
            return UnknownHostError("This service does not answer for that host.")
        if not self.keys or path in self.open or (self.open_pages and path.startswith(ASSETS)):
            return None
        kind, _, token = get_header(scope, b"authorization").partition(b" ")
        key = token.strip() if kind.lower() == b"bearer" else get_header(scope, b"x-api-key")
        if not key:
            return UnauthorizedError("Send a key, as Authorization: Bearer KEY or X-API-Key: KEY.")
        hashed = hashlib.sha256(key).digest()
        if not sum(hmac.compare_digest(hashed, known) for known in self.keys):  # each is looked at, whichever fits
            return UnauthorizedError("The key is not known.")
        return None

    def knows_host(self, host: bytes) -> bool:
        name = host.decode("latin-1").lower()
        name = re.sub(r":\d+$", "", name)
        return any(
            name == known or (known.startswith("*.") and (name == known[2:] or name.endswith(known[1:])))
            for known in self.hosts
        )


def get_header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def read_keys(setting: str) -> frozenset[bytes]:
    """Read the hashes of keys: out of the setting, with commas, or a file, one a line, with ``#`` for remarks.

    Raises:
        StartupError: there is something else, or no such file.
    """
    if not setting:
        return frozenset()
    words = [word.strip() for word in setting.split(",")]
    if not all(HASH.fullmatch(word) for word in words):
        try:
            lines = Path(setting).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise StartupError(
                f"DIGITS_API_KEYS is neither SHA-256 hashes nor a file that can be read: {reason}"
            ) from None
        words = [word for line in lines if (word := line.partition("#")[0].strip())]
    wrong = [number for number, word in enumerate(words, 1) if not HASH.fullmatch(word)]
    if wrong or not words:
        what = f"entry {wrong[0]} is no SHA-256 of 64 hexadecimal digits" if wrong else "there is no key in it"
        raise StartupError(f"DIGITS_API_KEYS: {what}. Make one: printf %s KEY | sha256sum")
    return frozenset(bytes.fromhex(word) for word in words)


def parse_list(setting: str) -> tuple[str, ...]:
    """The entries of a setting that is a list with commas."""
    return tuple(word.strip().lower() for word in setting.split(",") if word.strip())
