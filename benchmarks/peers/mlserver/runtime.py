"""MLServer: a custom runtime for tensors of the Open Inference Protocol. MLServer makes the batches."""

import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.textbook import Textbook


class TextbookRuntime(MLModel):
    async def load(self) -> bool:
        self.model = Textbook().eval()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the digits ``(N,)`` of pictures ``uint8 (N, 28, 28)``."""
        images = torch.from_numpy(self.decode(payload.inputs[0], default_codec=NumpyCodec))
        with torch.inference_mode():
            logits = self.model(images.unsqueeze(1) / 127.5 - 1)
        digits = NumpyCodec.encode_output("digit", logits.argmax(dim=1).numpy())
        return InferenceResponse(model_name=self.name, outputs=[digits])
