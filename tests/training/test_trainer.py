"""The training loop: learns, repeats, resumes to the same weights, and stops without loss."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.small import SMALL, small, small_mnist
from training import trainer
from training.augmentation.geometry import augment
from training.data.mnist import Digits, hold_out, load
from training.recipes import RECIPES, TEXTBOOK, from_dict
from training.trainer import Epoch, Step, TrainingError, device_named, fit, learning_rate, load_run, strength


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Digits, Digits]:
    folder = tmp_path_factory.mktemp("data")
    small_mnist(folder, train=800, test=10)
    return hold_out(load(folder, "train"), 200)


def weights(run: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in run.state_dict().values()])


def test_a_small_network_learns_to_read(parts: tuple[Digits, Digits]) -> None:
    """A few epochs on 600 digits made of 20 are enough to read nearly all of the held-out ones."""
    run = fit(SMALL, *parts, seed=0)
    assert run.finished
    assert run.history[-1].held_out is not None
    assert run.history[-1].held_out > 0.9
    assert run.history[-1].loss < run.history[0].loss


def test_a_seed_repeats(parts: tuple[Digits, Digits]) -> None:
    """On a CPU the same seed gives the same weights to the bit, and another seed others."""
    recipe = small(epochs=1)
    first, second, other = (fit(recipe, *parts, seed=seed).network for seed in (1, 1, 2))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


def test_a_resumed_run_ends_as_if_never_stopped(parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """Stopped in the middle of the third epoch and continued: weights and history are those of one run."""
    recipe = small(epochs=4)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    whole = fit(recipe, *parts, seed=3)

    def interrupt(step: Step) -> None:
        if step.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recipe, *parts, seed=3, checkpoint=checkpoint, on_step=interrupt)
    assert len(load_run(checkpoint).history) == 2
    shown: list[Epoch] = []
    resumed = fit(recipe, *parts, seed=3, checkpoint=checkpoint, resume=True, on_epoch=shown.append)
    assert torch.equal(weights(whole.network), weights(resumed.network))
    assert [epoch.loss for epoch in resumed.history] == [epoch.loss for epoch in whole.history]
    assert [epoch.epoch for epoch in shown] == [1, 2, 3, 4]


def test_an_interrupted_run_can_be_used_as_it_is(parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """The checkpoint of the last whole epoch holds the network that would be kept."""
    checkpoint = tmp_path / "checkpoint.pt"
    run = fit(small(epochs=2), *parts, checkpoint=checkpoint)
    kept = load_run(checkpoint)
    assert torch.equal(weights(kept.network), weights(run.network))
    assert (kept.recipe, kept.seed, kept.history) == (run.recipe, run.seed, run.history)


def test_another_run_s_checkpoint_is_refused(parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """Resuming with another recipe or seed is an error, not a mixture."""
    checkpoint = tmp_path / "checkpoint.pt"
    fit(small(epochs=1), *parts, checkpoint=checkpoint)
    for recipe, seed in ((small(epochs=1, batch=50), 0), (small(epochs=1), 1)):
        with pytest.raises(TrainingError, match="another recipe or seed"):
            fit(recipe, *parts, seed=seed, checkpoint=checkpoint, resume=True)


def test_the_last_smaller_batch_is_trained_on(parts: tuple[Digits, Digits]) -> None:
    """No digit is left out of an epoch: 600 digits in batches of 250 are three steps."""
    steps: list[Step] = []
    fit(small(epochs=1, batch=250), *parts, on_step=steps.append)
    assert steps[-1].batches == 3


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    """One cycle: from a twentieth up to the highest at a fifth of the run, and down to nothing."""
    rates = [learning_rate(SMALL, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(SMALL.learning_rate * 0.05)
    assert max(rates) == rates[20] == pytest.approx(SMALL.learning_rate)
    assert rates[100] == pytest.approx(0)
    assert sorted(rates[:21]) == rates[:21]
    assert sorted(rates[20:], reverse=True) == rates[20:]
    assert {learning_rate(TEXTBOOK, step / 100) for step in range(101)} == {0.001}


def test_augmentation_is_eased_away_at_the_end() -> None:
    """Full until the last stretch, then fading to nothing."""
    recipe = small(ease=0.2)
    assert strength(recipe, 0.0) == 1
    assert strength(recipe, 0.8) == pytest.approx(1)
    assert strength(recipe, 0.9) == pytest.approx(0.5)
    assert strength(recipe, 1.0) == pytest.approx(0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_that_is_not_there_is_refused() -> None:
    """auto falls to the CPU; cuda by name does not."""
    assert device_named("auto").type == "cpu"
    with pytest.raises(TrainingError, match="0 CUDA devices"):
        device_named("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_training_on_cuda_learns(parts: tuple[Digits, Digits]) -> None:
    """The same loop on a CUDA device reads nearly all of the held-out digits."""
    run = fit(SMALL, *parts, device=torch.device("cuda"))
    assert run.history[-1].held_out is not None
    assert run.history[-1].held_out > 0.9


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_being_written_down(name: str) -> None:
    """What a manifest keeps of a recipe rebuilds it."""
    assert from_dict(asdict(RECIPES[name])) == RECIPES[name]


def test_junk_is_bent_like_digits(parts: tuple[Digits, Digits], monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through the same augmentation, in the same batch: it cannot be told by how it was made."""
    counts: list[int] = []

    def counted(images: torch.Tensor, *arguments: Any) -> torch.Tensor:
        counts.append(len(images))
        return augment(images, *arguments)

    monkeypatch.setattr(train, "augment", counted)
    run = fit(small(epochs=1, junk=0.5), *parts, seed=0)
    assert set(counts) == {30}  # of batches of 20
    assert run.network.head.weight[10].abs().max() > 0  # the logit of anything else has learnt


def test_without_junk_anything_else_stays_at_nothing(parts: tuple[Digits, Digits]) -> None:
    """A network that was shown digits alone keeps its eleventh logit at 0."""
    network = fit(small(epochs=1), *parts, seed=0).network
    assert network.head.weight[10].abs().max() == 0
    assert network.head.bias[10] == 0


def test_l1_shrinks_weights(parts: tuple[Digits, Digits]) -> None:
    """With a heavy penalty on absolute values, more weights end near 0."""

    def tiny(l1: float) -> float:
        network = fit(small(epochs=2, l1=l1), *parts, seed=0).network
        values = torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim > 1])
        return float((values.abs() < 1e-3).float().mean())

    assert tiny(1e-3) > 2 * tiny(0.0)
