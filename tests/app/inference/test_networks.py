"""The networks: shapes, the content of a checkpoint, and the baseline against its definition."""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from app.inference.networks import ARCHITECTURES, Committee, DigitNet, Network, build_network

pytestmark = pytest.mark.slow  # importing torch takes seconds

SHAPE: dict[str, Any] = {"stem": 8, "stages": [[16, 2, 1], [24, 2, 0]]}
WIDER: dict[str, Any] = {"stem": 8, "stem_stride": 1, "stages": [[16, 2, 0], [32, 2, 1]], "dropout": 0.1}
CONFIGS: dict[str, dict[str, Any]] = {"SimpleCNN": {}, "DigitNet": SHAPE, "Committee": {"members": [SHAPE, WIDER]}}


@pytest.fixture(params=sorted(ARCHITECTURES))
def network(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(0)
    return build_network(request.param, CONFIGS[request.param]).eval()


def random_images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_raw_pictures_give_probabilities_and_typicality(network: Network) -> None:
    """uint8 (N, 28, 28) gives probabilities (N, 10) that sum to 1, and typicality (N,) in [0, 1]."""
    for count in (1, 5):
        probabilities, typicality = network(random_images(count))
        assert probabilities.shape == (count, 10)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(count))
        assert typicality.shape == (count,)
        assert ((typicality >= 0) & (typicality <= 1)).all()


def test_temperature_lowers_confidence_and_keeps_the_order(network: Network) -> None:
    """A higher temperature makes the network less confident, and keeps the order of the classes."""
    before, _ = network(random_images(8))
    network.temperature.fill_(3.0)
    after, _ = network(random_images(8))
    assert (after.max(1).values < before.max(1).values).all()
    torch.testing.assert_close(after.argsort(1), before.argsort(1))


def test_typicality_is_the_probability_of_any_digit(network: Network) -> None:
    """It is one minus the eleventh probability of a softmax over all eleven logits, at any temperature."""
    torch.nn.init.normal_(network.head.weight)
    network.temperature.fill_(3.0)
    _, typicality = network(random_images(6))
    torch.testing.assert_close(typicality, 1 - network.logits(random_images(6)).softmax(1)[:, 10])


def test_an_untrained_eleventh_logit_is_zero(network: Network) -> None:
    """The eleventh logit starts at 0, and training on digits alone keeps it there: typicality is the energy score."""
    assert network.logits(random_images(3))[:, 10].abs().max() == 0


def test_a_committee_averages_logits() -> None:
    """Its logits are the mean of its members' logits. The members may have different shapes."""
    torch.manual_seed(0)
    configs = [SHAPE, WIDER, SHAPE]
    members = [DigitNet(**config).eval() for config in configs]
    for member in members:
        torch.nn.init.normal_(member.head.weight)
    committee = Committee.from_networks(members, configs).eval()
    mean = torch.stack([member.logits(random_images(5)) for member in members]).mean(0)
    torch.testing.assert_close(committee.logits(random_images(5)), mean)


def test_the_checkpoint_is_complete(network: Network) -> None:
    """A network rebuilt from its state answers the same: the state has normalisation and calibration, too."""
    network.temperature.fill_(1.7)
    rebuilt = build_network(type(network).__name__, CONFIGS[type(network).__name__])
    rebuilt.load_state_dict(network.state_dict())
    for expected, actual in zip(network(random_images(4)), rebuilt.eval()(random_images(4)), strict=True):
        torch.testing.assert_close(actual, expected)


def test_the_baseline_is_the_network_of_the_tutorials() -> None:
    """SimpleCNN is the sequence of layers in the tutorials, on (x/255 - 0.5) / 0.5."""
    network = build_network("SimpleCNN", {})
    assert isinstance(network.conv, nn.Conv2d)
    assert isinstance(network.hidden, nn.Module)
    tutorial = nn.Sequential(
        network.conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), network.hidden, nn.ReLU(), network.head
    )
    assert sum(parameter.numel() for parameter in network.parameters()) == 804_683
    images = random_images(3)
    torch.testing.assert_close(network.logits(images), tutorial(((images / 255 - 0.5) / 0.5).unsqueeze(1)))
