"""A client of a running service: files -> what came of each, in order, with a few requests under way at a time.

A service that is busy, or away for a moment, is asked again: when it said that it may be, or else after longer and
longer waits. Knows nothing of the command line, and of how outcomes are written.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from app.cli.image_files import Found
from app.cli.results import Outcome
from app.errors import ServiceError

IN_FLIGHT = 4  # requests
BATCH_FILES = 64
BATCH_BYTES = 8_000_000
TIMEOUT = httpx.Timeout(60, connect=10)  # seconds

TRIES = 8  # of one request, within a minute or so
FIRST_WAIT = 0.5  # seconds before the second try; twice as long before each further one
LONGEST_WAIT = 30.0  # seconds
PATIENCE = 300.0  # seconds that a service may ask to be waited for
AGAIN = (429, 502, 503, 504)  # statuses of a service that may answer in a while
ELSEWHERE = (301, 302, 303, 307, 308, 403, 404, 405, 407)  # statuses that no picture has earned
BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)  # the connection, while it was in use
MOST_BROKEN = 3  # tries of a request that end so, and pictures in a row that it is so with


class RefusedError(Exception):
    """The service's answer to a request is no. Status 0: it breaks the connection each time."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Picture(NamedTuple):
    file: str
    data: bytes
    error: str | None = None  # why it is not sent


@asynccontextmanager
async def connect(
    url: str,
    api_key: str | None = None,
    whole_numbers: bool = False,
    tries: int = TRIES,
    first_wait: float = FIRST_WAIT,
    on_wait: Callable[[str], None] = lambda text: None,
) -> AsyncIterator["Client"]:
    """Get to know a service.

    Args:
        url: where it is, without the path of any route.
        api_key: sent with each request.
        whole_numbers: whether to ask ``POST /read`` instead of ``POST /predict``.
        on_wait: told why the service is waited for, and for how long.

    Raises:
        ServiceError: there is none at that address, or it does not take the key.
    """
    headers = {"User-Agent": "digitserve-client"} | ({"X-API-Key": api_key} if api_key else {})
    async with httpx.AsyncClient(headers=headers, timeout=TIMEOUT) as http:
        client = Client(http, url.rstrip("/"), "/read" if whole_numbers else "/predict", tries, first_wait, on_wait)
        await client.get_to_know()
        yield client


class Client:
    """What asks a service; made by ``connect``."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        path: str,
        tries: int,
        first_wait: float,
        on_wait: Callable[[str], None],
    ) -> None:
        self._http, self._url, self._path = http, url, path
        self._tries, self._first_wait, self._on_wait = tries, first_wait, on_wait
        # Of one request; less where the service says that it takes less.
        self._batch_files = BATCH_FILES if path == "/predict" else 1
        self._batch_bytes = BATCH_BYTES
        self._largest = 0  # bytes of a picture that the service takes
        self._broken = 0  # pictures in a row that the connection broke for

    async def get_to_know(self) -> None:
        """Learn how large a picture may be.

        Raises:
            ServiceError: there is no such service.
        """
        try:
            info = await self._ask(self._http.build_request("GET", f"{self._url}/info"), patient=False)
            self._largest = int(info["limits"]["max_body_bytes"])
        except httpx.InvalidURL as error:
            raise ServiceError(f"{self._url} is no address: {error}") from None
        except (RefusedError, KeyError, TypeError, ValueError):
            raise ServiceError(f"GET {self._url}/info is answered, and not by digitserve") from None

    async def read(self, files: Iterable[Found], tell: Callable[[Sequence[Outcome]], None]) -> None:
        """Have all files read, and tell what came of them, some at a time, in their order.

        Raises:
            ServiceError: the service does not answer any more, or not as digitserve does; all that was answered before
                has been told.
        """
        under_way: deque[asyncio.Task[list[Outcome]]] = deque()
        batches = self._batches(files)
        try:
            # In a thread, since files on a slow disk take their time.
            while batch := await asyncio.to_thread(next, batches, None):
                under_way.append(asyncio.create_task(self._outcomes(batch)))
                if len(under_way) == IN_FLIGHT:
                    tell(await under_way.popleft())
            while under_way:
                tell(await under_way.popleft())
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    def _batches(self, files: Iterable[Found]) -> Iterator[list[Picture]]:
        """Open the files, and put them together as they may be sent together; one that is too large for that, alone."""
        batch: list[Picture] = []
        size = 0
        for picture in map(self._open, files):
            if batch and (len(batch) >= self._batch_files or size + len(picture.data) > self._batch_bytes):
                yield batch
                batch, size = [], 0
            batch.append(picture)
            size += len(picture.data)
        if batch:
            yield batch

    def _open(self, found: Found) -> Picture:
        if found.error:
            return Picture(found.file, b"", found.error)
        try:
            with Path(found.file).open("rb") as file:
                data = file.read(self._largest + 1)
        except OSError as error:
            return Picture(found.file, b"", error.strerror)
        if len(data) > self._largest:
            return Picture(found.file, b"", f"The file is larger than the {self._largest:,} bytes that are allowed.")
        return Picture(found.file, data)

    async def _outcomes(self, pictures: list[Picture]) -> list[Outcome]:
        """What came of each picture of a batch."""
        answers = iter(await self._answers([picture.data for picture in pictures if not picture.error]))
        outcomes = []
        for file, _, error in pictures:
            answer = error or next(answers)
            outcomes.append(Outcome(file, None, answer) if isinstance(answer, str) else Outcome(file, answer))
        return outcomes

    async def _answers(self, pictures: list[bytes]) -> list[dict[str, Any] | str]:
        """An answer for each, or why there is none. A batch that is refused as a whole is sent in halves."""
        if len(pictures) <= 1:
            return [await self._answer(data) for data in pictures]
        files = [("file", (f"{number}", data)) for number, data in enumerate(pictures)]
        request = self._http.build_request("POST", f"{self._url}{self._path}/batch", files=files)
        await request.aread()  # one body, which httpx would send in two pieces a picture
        try:
            answered = await self._ask(request)
        except RefusedError as error:
            half = len(pictures) // 2
            if error.status == 413:
                self._batch_bytes = min(self._batch_bytes, sum(map(len, pictures)) // 2)
            elif error.status == 400:  # more files than it takes
                self._batch_files = min(self._batch_files, half)
            return await self._answers(pictures[:half]) + await self._answers(pictures[half:])
        found = answered.get("predictions") if isinstance(answered, dict) else None
        if not isinstance(found, list) or len(found) != len(pictures):
            raise ServiceError(f"POST {request.url} has no answer for each of {len(pictures)} pictures")
        return [recognised(entry, request) for entry in found]

    async def _answer(self, picture: bytes) -> dict[str, Any] | str:
        """The answer for one, or why there is none."""
        headers = {"Content-Type": "application/octet-stream"}
        request = self._http.build_request("POST", f"{self._url}{self._path}", content=picture, headers=headers)
        try:
            return recognised(await self._ask(request), request)
        except RefusedError as error:
            if error.status == 0:
                self._broken += 1
                if self._broken >= MOST_BROKEN:
                    raise ServiceError(f"POST {request.url}: {error}") from None
            return str(error)

    async def _ask(self, request: httpx.Request, patient: bool = True) -> Any:
        """Send a request until it is answered; the JSON of the answer.

        Args:
            request: without a stream in it, so that it can be sent again.
            patient: whether to wait for a service that nobody has seen yet.

        Raises:
            RefusedError: it is answered with no.
            ServiceError: it is not answered.
        """
        broken = 0
        for attempt in range(self._tries):
            wait = None
            try:
                response = await self._http.send(request)
            except BROKEN as error:
                fault = "the connection broke"
                broken += 1
                if broken == MOST_BROKEN:
                    raise RefusedError(0, f"The connection broke {broken} times ({told(error)}).") from None
            except httpx.RequestError as error:
                fault = told(error)
                if not patient and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    raise ServiceError(f"no connection to {self._url}: {fault}") from None
            else:
                # A response and its stream hold each other, and the pictures, until garbage is collected.
                response.stream = httpx.ByteStream(b"")
                self._broken = 0
                if response.status_code not in AGAIN:
                    return understood(response)
                fault, wait = detail_of(response), seconds_asked(response)
                if wait and wait > PATIENCE:
                    raise ServiceError(f"{self._url} asks to be left alone for {wait:,.0f} s: {fault}")
            if attempt + 1 < self._tries:
                if wait is None:
                    wait = min(self._first_wait * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1)
                else:
                    wait += random.uniform(0, 0.2)  # lest all who were told the same come at once
                self._on_wait(f"{fault.rstrip('.')}; asking again in {wait:.1f} s")
                await asyncio.sleep(wait)
        raise ServiceError(f"{request.method} {request.url} was tried {self._tries} times: {fault}")


def told(error: httpx.RequestError) -> str:
    return str(error) or type(error).__name__


def understood(response: httpx.Response) -> Any:
    """The JSON of an answer.

    Raises:
        RefusedError: it says no.
        ServiceError: it is none of digitserve's, or says that we are not known there.
    """
    asked = f"{response.request.method} {response.request.url}"
    if response.status_code == 401:
        raise ServiceError(f"{asked}: {detail_of(response)} A key is given as --api-key or DIGITS_API_KEY.")
    if response.status_code in ELSEWHERE:
        target = response.headers.get("Location")
        raise ServiceError(f"{asked}: {detail_of(response)}" + (f" It is at {target}." if target else ""))
    if not response.is_success:
        raise RefusedError(response.status_code, detail_of(response))
    try:
        return response.json()
    except ValueError:
        raise ServiceError(f"{asked} has an answer that is no JSON") from None


def recognised(answer: Any, request: httpx.Request) -> dict[str, Any] | str:
    """An answer for a picture, or the detail of a problem, as it may stand in the place of one.

    Raises:
        ServiceError: it is neither.
    """
    if isinstance(answer, dict):
        if "accepted" in answer:
            return answer
        if "detail" in answer:
            return str(answer["detail"])
    raise ServiceError(f"{request.method} {request.url} has an answer that is not digitserve's")


def detail_of(response: httpx.Response) -> str:
    """What an error says: the detail of a problem, or else what its status means."""
    with suppress(ValueError, KeyError, TypeError):
        return str(response.json()["detail"])
    return f"{response.status_code} {response.reason_phrase}."


def seconds_asked(response: httpx.Response) -> float | None:
    """What Retry-After says: seconds, or a date."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None
