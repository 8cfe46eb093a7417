"""The textbook CNN as torch servers have it: weights, and torchvision's transforms, as tutorials write them."""

from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import transforms

from app.inference.networks import DIGITS, SimpleCNN
from benchmarks.peers import TEXTBOOK

# A picture of any size and mode to (1, 28, 28), in [-1, 1].
TRANSFORM = transforms.Compose(
    [
        transforms.Grayscale(),
        transforms.Resize((28, 28)),
        transforms.ToTensor(),
        transforms.Normalize((0.5,), (0.5,)),
    ]
)


class Textbook(nn.Module):
    """Maps transformed pictures ``(N, 1, 28, 28)`` to logits ``(N, 10)``.

    What our network does before and after its layers, normalisation and calibration, tutorials have outside or not at
    all, and neither has this.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = SimpleCNN()
        self.network.load_state_dict(load_file(TEXTBOOK / "textbook.safetensors"))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network.head(self.network.features(x))
        return logits[:, :DIGITS]
