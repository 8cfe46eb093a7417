"""LitServe: a LitAPI for forms with a file. LitServe makes the batches.

python -m benchmarks.peers.litserve.server PORT
"""

import os
import sys

import litserve
import torch
from PIL import Image
from starlette.requests import Request
from torch import Tensor

from benchmarks.peers.textbook import TRANSFORM, Textbook


class TextbookAPI(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = Textbook().eval().to(device)
        self.device = device

    def decode_request(self, request: Request) -> Tensor:
        return TRANSFORM(Image.open(request["file"].file))  # for a form, LitServe passes the form itself

    def batch(self, inputs: list[Tensor]) -> Tensor:
        return torch.stack(inputs)

    def predict(self, x: Tensor) -> Tensor:
        images = x if x.ndim == 4 else x.unsqueeze(0)  # a single picture has no batch dimension
        with torch.inference_mode():
            probabilities = self.model(images.to(self.device)).softmax(dim=1)
        return probabilities if x.ndim == 4 else probabilities[0]

    def encode_response(self, output: Tensor) -> dict[str, object]:
        return {"digit": int(output.argmax()), "probabilities": output.tolist()}


if __name__ == "__main__":
    api = TextbookAPI(max_batch_size=int(os.environ["BATCH"]), batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
