"""BentoML: a service with an image as its input, and adaptive batching if BATCH is more than 1."""

import os

import bentoml
import torch
from PIL.Image import Image

from benchmarks.peers.textbook import TRANSFORM
from benchmarks.peers.textbook import Textbook as Network

BATCH = int(os.environ["BATCH"])


@bentoml.service
class Textbook:
    def __init__(self) -> None:
        self.model = Network().eval()

    def classify(self, images: list[Image]) -> list[dict[str, object]]:
        with torch.inference_mode():
            probabilities = self.model(torch.stack([TRANSFORM(image) for image in images])).softmax(dim=1)
        return [{"digit": int(row.argmax()), "probabilities": row.tolist()} for row in probabilities]

    if BATCH > 1:

        @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=1000)
        def predict(self, file: list[Image]) -> list[dict[str, object]]:
            return self.classify(file)

    else:

        @bentoml.api
        def predict(self, file: Image) -> dict[str, object]:
            return self.classify([file])[0]
