"""The state of a running service: created by ``main.py`` at start-up, passed to the routes."""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, ParamSpec, TypeVar

from fastapi import Depends, Request

from app.errors import DeadlineError, EngineFailedError, NotReadyError
from app.imaging.decode import OpenedImage, decode_plain_png, open_image
from app.imaging.normalize import Mode
from app.inference.admission import Admission
from app.inference.engine_health import EngineHealth
from app.inference.hot_reload import ReloadReport
from app.inference.loaded_model import LoadedModel
from app.inference.threads import run_in_executor
from app.observability.metrics import Metrics
from app.recognition.digit import PreparedPicture, prepare_picture
from app.settings import Settings

# Pictures up to these sizes are decoded in the event loop: passing them to a thread would cost as much as the work.
# Larger ones would make other requests wait.
SMALL_FILE_BYTES = 32_768
SMALL_PICTURE_PIXELS = 128 * 128

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass
class ServiceState:
    """Everything that requests share."""

    settings: Settings
    model: LoadedModel  # for new requests; take it with ``lease_model``
    admission: Admission
    pool: Executor  # decodes large pictures
    metrics: Metrics
    engine_health: EngineHealth
    draining: bool = False  # a signal to stop has arrived
    last_reload: ReloadReport | None = None

    def require_ready(self) -> None:
        """Check that the service can answer requests.

        Raises:
            NotReadyError: The service is stopping.
            EngineFailedError: The engine does not work.
        """
        if self.draining:
            raise NotReadyError("The service is stopping.")
        if self.engine_health.failing:
            raise EngineFailedError("The engine has failed. The service is testing it again.")

    def update_queue_size(self) -> None:
        """Set the metric for how many pictures wait."""
        self.metrics.queue_size.set(self.model.scheduler.queue_size)

    def begin_answer(self) -> LoadedModel:
        """Count a request whose body is complete, and return the model that answers it. End it with ``end_answer``.

        Raises:
            OverloadedError: Too many requests are waiting.
        """
        self.admission.enter()
        self.model.users += 1
        return self.model

    def end_answer(self, model: LoadedModel) -> None:
        """Count the answer to a request."""
        model.release()
        self.admission.leave()

    def lease_model(self) -> "ModelLease":
        """Return a context manager for a request whose body is complete. It gives the model for the answer.

        Raises:
            OverloadedError: Too many requests are waiting.
        """
        return ModelLease(self)

    async def prepare(self, data: bytes, deadline: float, mode: Mode = "auto") -> PreparedPicture:
        """Decode and normalise an image file without holding up other requests.

        Raises:
            RequestError: It is not an image that we accept.
            OverloadedError: It is large, and too many large pictures are being decoded.
            DeadlineError: The deadline passed before its turn.
        """
        image: OpenedImage | bytes = data
        if len(data) <= SMALL_FILE_BYTES:
            small = self.prepare_small(data, mode)
            if isinstance(small, PreparedPicture):
                return small
            image = small
        return await self.process_in_pool(image, deadline, lambda opened: prepare_picture(opened.decode(), mode))

    def prepare_small(self, data: bytes, mode: Mode = "auto") -> PreparedPicture | OpenedImage:
        """Decode and normalise an image file of up to ``SMALL_FILE_BYTES``. Only open it if it has too many pixels.

        Raises:
            RequestError: It is not an image that we accept.
            OverloadedError: There is not enough memory.
        """
        if plain := decode_plain_png(data, min(SMALL_PICTURE_PIXELS, self.settings.max_pixels)):
            return prepare_picture(plain, mode)
        image = open_image(data, self.settings.max_pixels)
        return prepare_picture(image.decode(), mode) if image.pixel_count <= SMALL_PICTURE_PIXELS else image

    async def process_in_pool(
        self, image: OpenedImage | bytes, deadline: float, process: Callable[[OpenedImage], Result]
    ) -> Result:
        """Process a picture in the pool and count its pixels meanwhile. Raises what ``prepare`` raises."""
        if isinstance(image, bytes):
            image = await self.run_in_pool(deadline, open_image, image, self.settings.max_pixels)
        with self.admission.holding_pixels(image.pixel_count):
            return await self.run_in_pool(deadline, process, image)

    async def run_in_pool(
        self, deadline: float, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Run a function in a thread of the pool.

        Raises:
            DeadlineError: The deadline passed before its turn.
            NotReadyError: The service is stopping.
        """

        def run_before_deadline() -> Result:
            if time.perf_counter() > deadline:
                raise DeadlineError
            return function(*args, **kwargs)

        return await run_in_executor(self.pool, run_before_deadline)


class ModelLease:
    """Counts a request as waiting, and keeps the model that it uses until it is answered."""

    __slots__ = ("_model", "_service")

    def __init__(self, service: ServiceState) -> None:
        self._service = service

    def __enter__(self) -> LoadedModel:
        self._model = self._service.begin_answer()
        return self._model

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._service.end_answer(self._model)


async def get_service(request: Request) -> ServiceState:
    """Return the service that handles a request."""
    service: ServiceState = request.state.service
    return service


CurrentService = Annotated[ServiceState, Depends(get_service)]
"""The type to annotate a route's parameter with, to get the service."""
