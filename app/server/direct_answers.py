"""Answers the most frequent requests without the app: health checks, and small pictures of single digits.

The app needs a task, a scope and several layers for each request. None of that is needed for a request that waits only
for its turn at the networks. A request with anything unusual about it, or with anything wrong, is left to the app.
"""

import asyncio
import logging
import time

from app.errors import DigitserveError
from app.http.image_upload import extract_image
from app.http.middleware.auth import Auth
from app.http.middleware.request_log import CLIENT_CLOSED_REQUEST, DEFAULT_HEADERS, get_request_id
from app.http.paths import HEALTH_BODIES, LIVENESS_PATHS
from app.http.problems import internal_error_response, problem_response
from app.http.routes.predict import NOT_READ, write_answer
from app.http.state import SMALL_FILE_BYTES, ServiceState
from app.inference.batching import Completed
from app.inference.loaded_model import LoadedModel
from app.inference.scores import Score
from app.observability.logging import AccessLog
from app.recognition.digit import PreparedPicture
from app.server.client_address import ClientFinder
from app.server.exchange import DirectAnswer, Exchange, RequestHead, format_lines
from app.server.load_shedding import LoadShedder

logger = logging.getLogger(__name__)

PATH = "/predict"
UNUSUAL_HEADERS = frozenset({b"content-encoding", b"transfer-encoding"})
JSON_LINE = b"content-type: application/json\r\n"
DEFAULT_LINES = format_lines(DEFAULT_HEADERS)


class DirectAnswers:
    """Finds the function that answers a request without the app.

    Args:
        service: The running service.
        log: The access log, if there is one.
        find_client: Finds the client's address for the log.
        shed: Refuses pictures while the service is full.
        auth: Checks keys and hosts, if that is needed.
        with_pictures: Whether pictures may be answered, too. Not if a middleware must see each of these requests.
    """

    def __init__(
        self,
        service: ServiceState,
        log: AccessLog | None,
        find_client: ClientFinder,
        shed: LoadShedder,
        auth: Auth | None,
        with_pictures: bool,
    ) -> None:
        self.service, self._log, self._find_client, self._shed = service, log, find_client, shed
        self._auth, self._with_pictures = auth, with_pictures
        self._max_bytes = min(SMALL_FILE_BYTES, service.settings.max_body_bytes)
        self._deadline_s = service.settings.deadline_ms / 1000
        self._root_path = service.settings.root_path

    def find(self, head: RequestHead) -> DirectAnswer | None:
        """Return the function that answers a request when its body is complete, or None to leave it to the app."""
        if head.method == b"POST":
            return self._answer_picture if self._with_pictures and self._asks_for_digit(head) else None
        return self._answer_health if head.url in HEALTH_BODIES and head.method in (b"GET", b"HEAD") else None

    def _asks_for_digit(self, head: RequestHead) -> bool:
        """Return whether a request asks for a digit, with no options, and announces a small body."""
        if head.url != PATH.encode():
            return False
        is_small = False
        for name, value in head.headers:
            if name == b"content-length":
                is_small = value.isdigit() and int(value) <= self._max_bytes
            elif name in UNUSUAL_HEADERS:
                return False
        return is_small and not (
            self._auth and self._auth.check({"path": PATH, "root_path": "", "headers": head.headers})
        )

    def _answer_health(self, exchange: Exchange) -> bool:
        """Answer a health check, if the answer is 200."""
        path = exchange.head.url.decode()
        if path not in LIVENESS_PATHS:
            try:
                self.service.require_ready()
            except DigitserveError:
                return False
        request_id = get_request_id(exchange.head.headers)
        exchange.respond(200, JSON_LINE + usual_lines(request_id), HEALTH_BODIES[exchange.head.url])
        self.record(exchange, path, 200, request_id)
        return True

    def _answer_picture(self, exchange: Exchange) -> bool:
        """Answer a request for the digit in a small picture. Larger pictures and wrong requests are the app's."""
        if self.service.admission.room <= 0:
            lines, body = self._shed.refuse(exchange.head, exchange.client, self._root_path + PATH, PATH)
            # Not in this iteration of the event loop, see ``HttpProtocol._shed_request``.
            asyncio.get_running_loop().call_soon(exchange.respond, 503, lines, body)
            return True
        started = time.perf_counter()
        content_type = next((value for name, value in reversed(exchange.head.headers) if name == b"content-type"), b"")
        try:
            picture = self.service.prepare_small(extract_image(content_type, bytes(exchange.body)))
        except Exception:  # the app will meet it again, and answer with it
            return False
        if not isinstance(picture, PreparedPicture):
            return False
        PictureAnswer(self, exchange, picture, started).begin(started + self._deadline_s)
        return True

    def record(self, exchange: Exchange, path: str, status: int, request_id: bytes) -> None:
        """Count and log the answer to a request."""
        seconds = time.perf_counter() - exchange.started_at
        method = exchange.head.method.decode()
        self.service.metrics.count_request(method, path, status, seconds)
        if self._log:
            client = self._find_client(exchange.client, exchange.head.headers)
            self._log.write(client, method, self._root_path + path, status, seconds, request_id.decode())


class PictureAnswer:
    """The answer to one picture: waits for its score, then responds."""

    __slots__ = ("_answers", "_decode_seconds", "_exchange", "_model", "_picture", "_request_id")

    def __init__(self, answers: DirectAnswers, exchange: Exchange, picture: PreparedPicture, started: float) -> None:
        self._answers, self._exchange, self._picture = answers, exchange, picture
        self._decode_seconds = time.perf_counter() - started
        self._request_id = get_request_id(exchange.head.headers)

    def begin(self, deadline: float) -> None:
        """Queue the picture for the network."""
        service = self._answers.service
        service.metrics.in_flight += 1
        self._model = service.begin_answer()
        if self._picture.blank:
            self._respond(self._model, NOT_READ)
            return
        try:
            scoring = self._model.scheduler.read_one(self._picture.pixels, deadline)
        except DigitserveError as error:
            self._fail(error)
            return
        self._exchange.work = scoring
        scoring.add_done_callback(self._on_score)

    def _on_score(self, scoring: asyncio.Future[Completed[Score]]) -> None:
        if scoring.cancelled():  # the client has disconnected
            self._end(CLIENT_CLOSED_REQUEST)
        elif error := scoring.exception():
            self._fail(error)
        else:
            self._respond(self._model, scoring.result())

    def _respond(self, model: LoadedModel, completed: Completed[Score] | Completed[None]) -> None:
        try:
            body, headers = write_answer(self._answers.service, model, self._picture, completed, self._decode_seconds)
        except Exception as error:
            self._fail(error)
            return
        self._send(200, headers, body)

    def _fail(self, error: BaseException) -> None:
        """Answer with an error, as the app does."""
        scope = {"path": PATH, "root_path": "", "state": {"request_id": self._request_id.decode()}}
        if isinstance(error, DigitserveError):
            response = problem_response(scope, error)
        else:
            logger.error("The app failed.", exc_info=error)
            response = internal_error_response(scope)
        if "rejected" in scope:
            self._answers.service.metrics.count_rejection(str(scope["rejected"]))
        headers = [header for header in response.raw_headers if header[0] != b"content-length"]
        self._send(response.status_code, headers, bytes(response.body))

    def _send(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._exchange.respond(status, format_lines(headers) + usual_lines(self._request_id), body)
        self._end(status)

    def _end(self, status: int) -> None:
        service = self._answers.service
        service.end_answer(self._model)
        service.metrics.in_flight -= 1
        self._answers.record(self._exchange, PATH, status, self._request_id)


def usual_lines(request_id: bytes) -> bytes:
    """Return the header lines of every response, except the date."""
    return b"x-request-id: %b\r\n%b" % (request_id, DEFAULT_LINES)
