"""A client of a running service: reads files with a few requests at a time, and returns their outcomes in order.

If the service is busy or briefly gone, a request is sent again: after the time in ``Retry-After``, or after waits that
grow. This module knows nothing of the command line, or of how outcomes are written.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from app.cli.console import no_connection
from app.cli.image_files import ImageFile, open_image
from app.cli.responses import RefusedError, describe_error, parse_answer, parse_response, parse_retry_after, read_detail
from app.cli.results import Outcome
from app.errors import ServiceError

MAX_IN_FLIGHT = 4  # requests
MAX_BATCH_FILES = 64
MAX_BATCH_BYTES = 8_000_000
TIMEOUT_S = httpx.Timeout(60, connect=10)

MAX_ATTEMPTS = 8  # to send one request, within about a minute
FIRST_WAIT_S = 0.5  # before the second attempt; it doubles before each further one
MAX_WAIT_S = 30.0
MAX_RETRY_AFTER_S = 300.0  # how long the service may ask us to wait
RETRY_STATUSES = (429, 502, 503, 504)  # the service may answer later
CONNECTION_ERRORS = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)  # while the connection was in use
MAX_CONNECTION_ERRORS = 3  # for one request; also for how many pictures in a row this may happen


class Picture(NamedTuple):
    """A file to send, or the reason why it is not sent."""

    file: str
    data: bytes
    error: str | None = None


@asynccontextmanager
async def connect(
    url: str,
    api_key: str | None = None,
    whole_numbers: bool = False,
    max_attempts: int = MAX_ATTEMPTS,
    first_wait_s: float = FIRST_WAIT_S,
    on_wait: Callable[[str], None] = lambda text: None,
) -> AsyncIterator["Client"]:
    """Connect to a service, and ask for its limits.

    Args:
        url: The address of the service, without the path of a route.
        api_key: Sent with each request.
        whole_numbers: Whether to use ``POST /read`` instead of ``POST /predict``.
        max_attempts: How often one request is sent.
        first_wait_s: How many seconds to wait before the second attempt.
        on_wait: Called before each wait with the reason and the duration.

    Raises:
        ServiceError: There is no digitserve at this address, or it rejects the key.
    """
    headers = {"User-Agent": "digitserve-client"} | ({"X-API-Key": api_key} if api_key else {})
    async with httpx.AsyncClient(headers=headers, timeout=TIMEOUT_S) as http:
        path = "/read" if whole_numbers else "/predict"
        client = Client(http, url.rstrip("/"), path, max_attempts, first_wait_s, on_wait)
        await client.fetch_limits()
        yield client


class Client:
    """Sends pictures to a service. Use ``connect`` to create one."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        path: str,
        max_attempts: int,
        first_wait_s: float,
        on_wait: Callable[[str], None],
    ) -> None:
        self._http, self._url, self._path = http, url, path
        self._max_attempts, self._first_wait_s, self._on_wait = max_attempts, first_wait_s, on_wait
        # The limits of one batch. They shrink when the service refuses a batch.
        self._batch_files = MAX_BATCH_FILES if path == "/predict" else 1
        self._batch_bytes = MAX_BATCH_BYTES
        self._max_file_bytes = 0  # the service's limit
        self._broken_in_row = 0  # consecutive pictures whose connection broke

    async def fetch_limits(self) -> None:
        """Ask the service how large a picture may be.

        Raises:
            ServiceError: There is no such service.
        """
        try:
            info = await self._send(self._http.build_request("GET", f"{self._url}/info"), patient=False)
            self._max_file_bytes = int(info["limits"]["max_body_bytes"])
        except httpx.InvalidURL as error:
            raise ServiceError(f"{self._url} is not a valid address: {error}") from None
        except (RefusedError, KeyError, TypeError, ValueError):
            raise ServiceError(f"the answer to GET {self._url}/info is not from digitserve") from None

    async def read(self, images: Iterable[ImageFile], on_outcomes: Callable[[Sequence[Outcome]], None]) -> None:
        """Have the service read files. ``on_outcomes`` gets the outcomes in order, several at a time.

        Raises:
            ServiceError: The service stopped answering, or its answers are not from digitserve. ``on_outcomes`` has
                all earlier outcomes.
        """
        in_flight: deque[asyncio.Task[list[Outcome]]] = deque()
        batches = self._make_batches(images)
        try:
            # In a thread, because files on a slow disk take time.
            while batch := await asyncio.to_thread(next, batches, None):
                in_flight.append(asyncio.create_task(self._read_batch(batch)))
                if len(in_flight) == MAX_IN_FLIGHT:
                    on_outcomes(await in_flight.popleft())
            while in_flight:
                on_outcomes(await in_flight.popleft())
        finally:
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)

    def _make_batches(self, images: Iterable[ImageFile]) -> Iterator[list[Picture]]:
        """Open the files, and group them within the limits of a batch. A file over the limit gets its own batch."""
        batch: list[Picture] = []
        size = 0
        for picture in map(self._open, images):
            if batch and (len(batch) >= self._batch_files or size + len(picture.data) > self._batch_bytes):
                yield batch
                batch, size = [], 0
            batch.append(picture)
            size += len(picture.data)
        if batch:
            yield batch

    def _open(self, image: ImageFile) -> Picture:
        if image.error:
            return Picture(image.file, b"", image.error)
        try:
            with open_image(image.file) as file:
                data = file.read(self._max_file_bytes + 1)
        except OSError as error:
            return Picture(image.file, b"", error.strerror)
        if len(data) > self._max_file_bytes:
            return Picture(image.file, b"", f"The file is larger than the limit of {self._max_file_bytes:,} bytes.")
        return Picture(image.file, data)

    async def _read_batch(self, pictures: list[Picture]) -> list[Outcome]:
        """Return the outcome of each picture."""
        answers = iter(await self._request_answers([picture.data for picture in pictures if not picture.error]))
        outcomes = []
        for file, _, error in pictures:
            answer = error or next(answers)
            outcomes.append(Outcome(file, None, answer) if isinstance(answer, str) else Outcome(file, answer))
        return outcomes

    async def _request_answers(self, pictures: list[bytes]) -> list[dict[str, Any] | str]:
        """Return an answer or an error for each picture. If the service refuses the batch, send it in halves."""
        if len(pictures) <= 1:
            return [await self._request_answer(data) for data in pictures]
        files = [("file", (f"{number}", data)) for number, data in enumerate(pictures)]
        request = self._http.build_request("POST", f"{self._url}{self._path}/batch", files=files)
        await request.aread()  # one body; otherwise httpx sends two pieces per picture
        try:
            body = await self._send(request)
        except RefusedError as error:
            half = len(pictures) // 2
            if error.status == 413:
                self._batch_bytes = min(self._batch_bytes, sum(map(len, pictures)) // 2)
            elif error.status == 400:  # too many files
                self._batch_files = min(self._batch_files, half)
            return await self._request_answers(pictures[:half]) + await self._request_answers(pictures[half:])
        entries = body.get("predictions") if isinstance(body, dict) else None
        if not isinstance(entries, list) or len(entries) != len(pictures):
            raise ServiceError(f"POST {request.url} did not answer each of {len(pictures)} pictures")
        return [parse_answer(entry, request) for entry in entries]

    async def _request_answer(self, picture: bytes) -> dict[str, Any] | str:
        """Return an answer or an error for one picture."""
        headers = {"Content-Type": "application/octet-stream"}
        request = self._http.build_request("POST", f"{self._url}{self._path}", content=picture, headers=headers)
        try:
            return parse_answer(await self._send(request), request)
        except RefusedError as error:
            if error.status == 0:
                self._broken_in_row += 1
                if self._broken_in_row >= MAX_CONNECTION_ERRORS:
                    raise ServiceError(f"POST {request.url}: {error}") from None
            return str(error)

    async def _send(self, request: httpx.Request, patient: bool = True) -> Any:
        """Send a request, again if necessary. Return the JSON of the answer.

        Args:
            request: The request. It has no stream, so that it can be sent again.
            patient: Whether to wait if nothing listens.

        Raises:
            RefusedError: The service refused the request.
            ServiceError: The service did not answer.
        """
        broken = 0
        for attempt in range(self._max_attempts):
            wait = None
            try:
                response = await self._http.send(request)
            except CONNECTION_ERRORS as error:
                fault = "the connection broke"
                broken += 1
                if broken == MAX_CONNECTION_ERRORS:
                    raise RefusedError(0, f"The connection broke {broken} times ({describe_error(error)}).") from None
            except httpx.RequestError as error:
                fault = describe_error(error)
                if not patient and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    raise no_connection(self._url, fault) from None
            else:
                # A response and its stream refer to each other, which keeps the pictures until garbage is collected.
                response.stream = httpx.ByteStream(b"")
                self._broken_in_row = 0
                if response.status_code not in RETRY_STATUSES:
                    return parse_response(response)
                fault, wait = read_detail(response), parse_retry_after(response)
                if wait and wait > MAX_RETRY_AFTER_S:
                    raise ServiceError(f"{self._url} asks us to wait {wait:,.0f} s, which is too long: {fault}")
            if attempt + 1 < self._max_attempts:
                if wait is None:
                    wait = min(self._first_wait_s * 2**attempt, MAX_WAIT_S) * random.uniform(0.5, 1)
                else:
                    wait += random.uniform(0, 0.2)  # so that clients with the same Retry-After do not return together
                self._on_wait(f"{fault.rstrip('.')}; trying again in {wait:.1f} s")
                await asyncio.sleep(wait)
        raise ServiceError(f"{request.method} {request.url} failed {self._max_attempts} times: {fault}")
