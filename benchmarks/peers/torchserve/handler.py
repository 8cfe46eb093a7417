"""TorchServe's handler: a batch of image files to digits. It is part of the model archive."""

import io

import torch
from PIL import Image
from torch import Tensor
from ts.torch_handler.base_handler import BaseHandler

from benchmarks.peers.textbook import TRANSFORM


class TextbookHandler(BaseHandler):
    def preprocess(self, data: list[dict[str, bytes]]) -> Tensor:
        return torch.stack([TRANSFORM(Image.open(io.BytesIO(request["data"]))) for request in data])

    def postprocess(self, data: Tensor) -> list[dict[str, object]]:
        return [{"digit": int(row.argmax()), "probabilities": row.tolist()} for row in data.softmax(dim=1)]
