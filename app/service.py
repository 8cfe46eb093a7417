"""What one running process holds: made by ``main.py`` at start-up, handed to the routes."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.batcher import Batcher
from app.classifier import Score
from app.normalize import Grey
from app.schemas import Info
from app.settings import Settings


@dataclass
class Service:
    settings: Settings
    info: Info
    batcher: Batcher[Grey, Score]
    scout: Batcher[Grey, Score]  # the fast network alone, for the many pictures that may be digits
    ready: bool  # the model has read its golden digits, and the process is not stopping

    @property
    def model_id(self) -> str:
        return f"{self.info.model.name}-{self.info.model.version}"


def current(request: Request) -> Service:
    service: Service = request.state.service
    return service


CurrentService = Annotated[Service, Depends(current)]
