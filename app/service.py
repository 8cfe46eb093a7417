"""What one running process holds: made by ``main.py`` at start-up, handed to the routes."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, ParamSpec, TypeVar

from fastapi import Depends, Request

from app import quick_png
from app.admission import Admission
from app.classifier import Prepared, prepare_decoded
from app.errors import DeadlineError, EngineFailedError, NotReadyError
from app.image import Opened, open_image
from app.metrics import Metrics
from app.normalize import Mode
from app.schemas import Reload
from app.serving import ServingModel
from app.settings import Settings
from app.shed import Shed
from app.watch import Watch

# What is decoded in the event loop: handing it to a thread would cost as much as the work. Nothing over this, for the
# others wait meanwhile.
SMALL_FILE = 32_768  # bytes
SMALL_PICTURE = 128 * 128  # pixels

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass
class Service:
    settings: Settings
    model: ServingModel  # the one for requests that come now; take it with ``turn``
    admission: Admission
    pool: Executor  # for pictures that are not small
    metrics: Metrics
    watch: Watch
    shed: Shed | None = None  # refuses from the head alone; None where something outside must see every request
    draining: bool = False  # a signal to stop has come
    last_reload: Reload | None = None

    def require_ready(self) -> None:
        """Raise if requests should go elsewhere.

        Raises:
            NotReadyError: the service is stopping.
            EngineFailedError: the engine does not work.
        """
        if self.draining:
            raise NotReadyError("The service is stopping.")
        if self.watch.failing:
            raise EngineFailedError("The engine has failed, and is being tried again.")

    def count_waiting(self) -> None:
        """Have the metrics tell how many pictures wait."""
        self.metrics.queue_size.set(self.model.inference.waiting)

    def turn(self) -> "Turn":
        """A context manager for a request whose body is complete, which gives the model that it is answered with.

        Raises:
            OverloadedError: too many wait.
        """
        return Turn(self)

    async def prepare(self, data: bytes, until: float, mode: Mode = "auto") -> Prepared:
        """Decode and normalise an image file, where that holds nobody up.

        Raises:
            RequestError: it is no image that we take.
            OverloadedError: it is large, and too much of that is under way.
            DeadlineError: its time was over before its turn came.
        """
        image = None
        if len(data) <= SMALL_FILE:
            if picture := quick_png.read(data, min(SMALL_PICTURE, self.settings.max_pixels)):
                return prepare_decoded(picture, mode)
            image = open_image(data, self.settings.max_pixels)
            if image.pixels <= SMALL_PICTURE:
                return prepare_decoded(image.decode(), mode)
        return await self.work_on(image or data, until, lambda opened: prepare_decoded(opened.decode(), mode))

    async def work_on(self, image: Opened | bytes, until: float, work: Callable[[Opened], Result]) -> Result:
        """Do work on a picture in the pool, counting its pixels meanwhile; raises what ``prepare`` does."""
        if isinstance(image, bytes):
            image = await self._in_pool(until, open_image, image, self.settings.max_pixels)
        with self.admission.holding_pixels(image.pixels):
            return await self._in_pool(until, work, image)

    async def _in_pool(
        self, until: float, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        def in_time() -> Result:
            if time.perf_counter() > until:
                raise DeadlineError
            return work(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self.pool, in_time)


class Turn:
    """A request's place among those that wait, and the model that it has taken."""

    __slots__ = ("_model", "_service")

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> ServingModel:
        self._service.admission.enter()
        self._model = self._service.model
        self._model.users += 1
        return self._model

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._model.release()
        self._service.admission.leave()


def current(request: Request) -> Service:
    service: Service = request.state.service
    return service


CurrentService = Annotated[Service, Depends(current)]
"""The service, for a route that asks for it."""
