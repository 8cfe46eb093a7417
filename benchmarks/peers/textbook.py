"""The textbook CNN for torch servers: its weights, and torchvision's transforms as tutorials use them."""

from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import transforms

from app.inference.networks import DIGITS, SimpleCNN
from benchmarks.peers import TEXTBOOK

# Turns a picture of any size and mode into (1, 28, 28), in [-1, 1].
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

    Our network normalises its input and calibrates its output. Tutorials do that outside the network or not at all, so
    this network does neither.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = SimpleCNN()
        self.network.load_state_dict(load_file(TEXTBOOK / "textbook.safetensors"))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network.head(self.network.features(x))
        return logits[:, :DIGITS]
