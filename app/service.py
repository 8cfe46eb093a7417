"""What one running process holds: made by ``main.py`` at start-up, handed to the routes."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app import quick_png
from app.classifier import Prepared, prepare, prepare_decoded
from app.image import open_image
from app.inference import Inference
from app.metrics import Metrics
from app.normalize import Mode
from app.schemas import Info
from app.settings import Settings

# What is decoded in the event loop: handing it to a thread would cost as much as the work. Nothing over this, for the
# others wait meanwhile.
SMALL_FILE = 32_768  # bytes
SMALL_PICTURE = 128 * 128  # pixels


@dataclass
class Service:
    settings: Settings
    info: Info
    inference: Inference
    pool: Executor  # for pictures that are not small
    metrics: Metrics
    ready: bool  # the model has read its golden digits, and the process is not stopping

    def __post_init__(self) -> None:
        self.model_id = f"{self.info.model.name}-{self.info.model.version}"

    async def prepare(self, data: bytes, mode: Mode = "auto") -> Prepared:
        """Decode and normalise an image file, where that holds nobody up.

        Raises:
            RequestError: it is no image that we take.
        """
        if len(data) <= SMALL_FILE:
            if picture := quick_png.read(data, min(SMALL_PICTURE, self.settings.max_pixels)):
                return prepare_decoded(picture, mode)
            image = open_image(data, self.settings.max_pixels)
            if image.pixels <= SMALL_PICTURE:
                return prepare_decoded(image.decode(), mode)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, prepare, data, self.settings.max_pixels, mode)


def current(request: Request) -> Service:
    service: Service = request.state.service
    return service


CurrentService = Annotated[Service, Depends(current)]
"""The service, for a route that asks for it."""
