"""Ray Serve: one replica of a deployment behind its HTTP proxy, with serve.batch if BATCH is more than 1.

python -m benchmarks.peers.rayserve.server PORT
"""

import io
import os
import sys

import ray
import torch
from PIL import Image
from ray import serve
from starlette.requests import Request

from benchmarks.peers.textbook import TRANSFORM, Textbook


@serve.deployment(max_ongoing_requests=100)
class TextbookDeployment:
    def __init__(self, batch: int) -> None:
        self.model = Textbook().eval()
        self.batch = batch

    def classify(self, images: list[Image.Image]) -> list[dict[str, object]]:
        with torch.inference_mode():
            probabilities = self.model(torch.stack([TRANSFORM(image) for image in images])).softmax(dim=1)
        return [{"digit": int(row.argmax()), "probabilities": row.tolist()} for row in probabilities]

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002)
    async def classify_batch(self, images: list[Image.Image]) -> list[dict[str, object]]:
        return self.classify(images)

    async def __call__(self, request: Request) -> dict[str, object]:
        async with request.form() as form:
            image = Image.open(io.BytesIO(await form["file"].read()))
        return await self.classify_batch(image) if self.batch > 1 else self.classify([image])[0]


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=os.environ["HOME"])
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(TextbookDeployment.bind(int(os.environ["BATCH"])), route_prefix="/predict", blocking=True)
