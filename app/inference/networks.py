"""The networks, in torch. The trainer and the torch engine share this definition.

A network maps raw pictures ``uint8 (N, 28, 28)``, light ink on black, to calibrated probabilities ``float32 (N, 10)``
and typicality ``float32 (N,)``. Normalisation and temperature are buffers of the network. So a checkpoint contains
everything between the picture and the answer, and the trainer and the server cannot differ.

This module knows nothing of files, training or engines.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.imaging.digit_image import IMAGE_SIZE

DIGITS = 10


class Network(nn.Module):
    """The base class of the networks.

    A subclass defines the layers in ``features``. This class normalises the input, and adds a linear head with eleven
    logits: one per digit, and one for anything else.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(self, feature_count: int, mean: float, std: float) -> None:
        super().__init__()
        self.head = nn.Linear(feature_count, DIGITS + 1)
        with torch.no_grad():  # "anything else" starts at 0, and stays there if training shows only digits
            self.head.weight[DIGITS].zero_()
            self.head.bias[DIGITS].zero_()
        self.register_buffer("mean", torch.tensor(mean))  # of the pixels, on the scale 0 to 255
        self.register_buffer("std", torch.tensor(std))
        self.register_buffer("temperature", torch.tensor(1.0))

    def features(self, x: Tensor) -> Tensor:
        """Map normalised pictures ``(N, 1, 28, 28)`` to features ``(N, F)``."""
        raise NotImplementedError

    def logits(self, images: Tensor) -> Tensor:
        """Map pictures ``(N, 28, 28)``, uint8 or float on the scale 0 to 255, to uncalibrated logits ``(N, 11)``."""
        x = (images.unsqueeze(1).float() - self.mean) / self.std
        logits: Tensor = self.head(self.features(x))
        return logits

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map pictures ``(N, 28, 28)`` to probabilities ``(N, 10)`` and typicality ``(N,)``.

        Probabilities are softmax(logits / temperature) over the digits (Guo et al. 2017, "On Calibration of Modern
        Neural Networks"). Typicality is the probability that the picture shows a digit at all, from all eleven logits.
        If the eleventh was never trained, it is the energy score of Liu et al. 2020, "Energy-based
        Out-of-distribution Detection", squashed into 0 to 1.
        """
        logits = self.logits(images)
        digits, anything_else = logits[:, :DIGITS], logits[:, DIGITS]
        typicality = torch.sigmoid(digits.logsumexp(dim=1) - anything_else)
        return F.softmax(digits / self.temperature, dim=1), typicality


class SimpleCNN(Network):
    """The network of the tutorials, our baseline: one convolution, one hidden layer, 804 k parameters."""

    def __init__(self) -> None:
        super().__init__(feature_count=128, mean=127.5, std=127.5)  # pixels in [0, 1], then (x - 0.5) / 0.5
        self.conv = nn.Conv2d(1, 32, 3, padding=1)
        self.hidden = nn.Linear(32 * 14 * 14, 128)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)  # (N, 32, 14, 14)
        return F.relu(self.hidden(x.flatten(1)))


class ConvBlock(nn.Sequential):
    """Convolution, batch-norm, ReLU: the building block of DigitNet. The export folds the batch-norm away."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection (He et al. 2015, "Deep Residual Learning")."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels, 3)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class WeightedPool(nn.Module):
    """Average pooling with a learned weight per channel and position: ``(N, C, S, S)`` to ``(N, C)``.

    A plain mean forgets where a stroke was. This costs as little, and training starts from the plain mean.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, side, side), 1 / side**2))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(dim=(2, 3))


def make_layers(
    stem: int, stages: Sequence[Sequence[int]], stem_stride: int = 2, dropout: float = 0.0
) -> nn.Sequential:
    """Make the layers of a DigitNet, which map ``(N, 1, 28, 28)`` to ``(N, C)``."""
    layers: list[nn.Module] = [ConvBlock(1, stem, 5, stem_stride)]
    inputs, side = stem, math.ceil(IMAGE_SIZE / stem_stride)
    for channels, stride, residuals in stages:
        layers.append(ConvBlock(inputs, channels, 3, stride))
        layers.extend(Residual(channels) for _ in range(residuals))
        inputs, side = channels, math.ceil(side / stride)
    return nn.Sequential(*layers, WeightedPool(inputs, side), nn.Dropout(dropout))


class DigitNet(Network):
    """A small residual network. It uses strides instead of max-pooling, which is slow in torch on a CPU.

    Args:
        stem: How many channels the first convolution (5x5) has.
        stages: For each stage: channels, stride of its 3x3 convolution, and how many residual blocks follow.
        stem_stride: The stride of the first convolution.
        dropout: The share of the features that is dropped in each training step.
    """

    def __init__(self, stem: int, stages: Sequence[Sequence[int]], stem_stride: int = 2, dropout: float = 0.0) -> None:
        # A mean of 0 keeps black paper at 0, so the zero padding of the convolutions looks like more black paper.
        super().__init__(feature_count=stages[-1][0], mean=0.0, std=78.6)
        self.layers = make_layers(stem, stages, stem_stride, dropout)

    def features(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]  # nn.Sequential is typed as Any


class Committee(Network):
    """Several DigitNets, of the same or of different shapes, whose logits are averaged.

    The mean of linear heads is one linear head over the features of all members, so only their layers are repeated.

    Args:
        members: The arguments of each DigitNet.
    """

    def __init__(self, members: Sequence[dict[str, Any]]) -> None:
        super().__init__(feature_count=sum(config["stages"][-1][0] for config in members), mean=0.0, std=78.6)
        self.members = nn.ModuleList(make_layers(**config) for config in members)

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([layers(x) for layers in self.members], dim=1)

    @classmethod
    @torch.no_grad()
    def from_networks(cls, networks: Sequence[DigitNet], configs: Sequence[dict[str, Any]]) -> "Committee":
        """Join networks that were trained separately. ``configs`` are their arguments."""
        committee = cls(configs)
        for layers, network in zip(committee.members, networks, strict=True):
            layers.load_state_dict(network.layers.state_dict())
        committee.head.weight.copy_(torch.cat([network.head.weight for network in networks], dim=1) / len(networks))
        committee.head.bias.copy_(torch.stack([network.head.bias for network in networks]).mean(dim=0))
        return committee

    @torch.no_grad()
    def split(self, configs: Sequence[dict[str, Any]]) -> list[DigitNet]:
        """Return the networks whose logits are averaged. ``configs`` are their arguments."""
        networks = [DigitNet(**config) for config in configs]
        heads = self.head.weight.split([network.head.in_features for network in networks], dim=1)
        for network, layers, weight in zip(networks, self.members, heads, strict=True):
            network.layers.load_state_dict(layers.state_dict())
            network.head.weight.copy_(weight * len(networks))
            network.head.bias.copy_(self.head.bias)
        return networks


ARCHITECTURES: dict[str, type[Network]] = {"Committee": Committee, "DigitNet": DigitNet, "SimpleCNN": SimpleCNN}


def build_network(architecture: str, config: dict[str, Any]) -> Network:
    """Build a network with new weights. ``architecture`` and ``config`` come from a manifest or a recipe."""
    return ARCHITECTURES[architecture](**config)
