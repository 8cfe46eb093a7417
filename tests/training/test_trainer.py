"""The training loop learns, repeats, resumes to the same weights, and loses nothing if it is interrupted."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.small_training import SMALL, vary, write_small_mnist
from training import trainer
from training.augmentation.geometry import augment
from training.data.mnist import Digits, hold_out, load
from training.errors import RunError
from training.recipes import RECIPES, TEXTBOOK, from_dict
from training.runs import Epoch, load_checkpoint
from training.trainer import Step, fit, schedule_learning_rate, schedule_strength, select_device


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Digits, Digits]:
    """600 digits to train on and 200 held-out ones, made of twenty."""
    folder = tmp_path_factory.mktemp("data")
    write_small_mnist(folder, train=800, test=10)
    return hold_out(load(folder, "train"), 200)


def weights(run: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in run.state_dict().values()])


@pytest.mark.training
def test_a_small_network_learns_to_read(parts: tuple[Digits, Digits]) -> None:
    """A few epochs on 600 digits, made of 20, are enough to read nearly all held-out ones."""
    run = fit(SMALL, *parts, seed=0)
    assert run.finished
    assert run.history[-1].held_out is not None
    assert run.history[-1].held_out > 0.9
    assert run.history[-1].loss < run.history[0].loss


@pytest.mark.training
def test_a_seed_repeats(parts: tuple[Digits, Digits]) -> None:
    """On a CPU, the same seed gives exactly the same weights, and another seed gives others."""
    recipe = vary(epochs=1)
    first, second, other = (fit(recipe, *parts, seed=seed).network for seed in (1, 1, 2))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.training
def test_a_resumed_run_ends_as_if_never_stopped(parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """Interrupted in the third epoch and resumed, a run ends with the weights and history of an uninterrupted one."""
    recipe = vary(epochs=4)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    whole = fit(recipe, *parts, seed=3)

    def interrupt(step: Step) -> None:
        if step.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recipe, *parts, seed=3, checkpoint=checkpoint, on_step=interrupt)
    assert len(load_checkpoint(checkpoint).history) == 2
    shown: list[Epoch] = []
    resumed = fit(recipe, *parts, seed=3, checkpoint=checkpoint, resume=True, on_epoch=shown.append)
    assert torch.equal(weights(whole.network), weights(resumed.network))
    assert [epoch.loss for epoch in resumed.history] == [epoch.loss for epoch in whole.history]
    assert [epoch.epoch for epoch in shown] == [1, 2, 3, 4]


@pytest.mark.training
def test_an_interrupted_run_can_be_used_as_it_is(parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """The checkpoint of the last complete epoch has the network that would be kept."""
    checkpoint = tmp_path / "checkpoint.pt"
    run = fit(vary(epochs=2), *parts, checkpoint=checkpoint)
    kept = load_checkpoint(checkpoint)
    assert torch.equal(weights(kept.network), weights(run.network))
    assert (kept.recipe, kept.seed, kept.history) == (run.recipe, run.seed, run.history)


@pytest.mark.training
def test_another_run_s_checkpoint_is_refused(parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """Resuming with another recipe or seed is an error."""
    checkpoint = tmp_path / "checkpoint.pt"
    fit(vary(epochs=1), *parts, checkpoint=checkpoint)
    for recipe, seed in ((vary(epochs=1, batch=50), 0), (vary(epochs=1), 1)):
        with pytest.raises(RunError, match="another recipe or seed"):
            fit(recipe, *parts, seed=seed, checkpoint=checkpoint, resume=True)


@pytest.mark.training
def test_the_last_smaller_batch_is_trained_on(parts: tuple[Digits, Digits]) -> None:
    """An epoch leaves out no digit: 600 digits in batches of 250 are three steps."""
    steps: list[Step] = []
    fit(vary(epochs=1, batch=250), *parts, on_step=steps.append)
    assert steps[-1].batches == 3


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    """One cycle rises from a twentieth to the peak at a fifth of the run, and falls to zero."""
    rates = [schedule_learning_rate(SMALL, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(SMALL.learning_rate * 0.05)
    assert max(rates) == rates[20] == pytest.approx(SMALL.learning_rate)
    assert rates[100] == pytest.approx(0)
    assert sorted(rates[:21]) == rates[:21]
    assert sorted(rates[20:], reverse=True) == rates[20:]
    assert {schedule_learning_rate(TEXTBOOK, step / 100) for step in range(101)} == {0.001}


def test_augmentation_is_eased_away_at_the_end() -> None:
    """Augmentation has full strength until the last stretch of a run, then fades to nothing."""
    recipe = vary(ease=0.2)
    assert schedule_strength(recipe, 0.0) == 1
    assert schedule_strength(recipe, 0.8) == pytest.approx(1)
    assert schedule_strength(recipe, 0.9) == pytest.approx(0.5)
    assert schedule_strength(recipe, 1.0) == pytest.approx(0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_cuda_device_is_refused() -> None:
    """auto falls back to the CPU; cuda does not."""
    assert select_device("auto").type == "cpu"
    with pytest.raises(RunError, match="0 CUDA devices"):
        select_device("cuda")


@pytest.mark.training
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_training_on_cuda_learns(parts: tuple[Digits, Digits]) -> None:
    """The same loop on a CUDA device learns to read nearly all held-out digits."""
    run = fit(SMALL, *parts, device=torch.device("cuda"))
    assert run.history[-1].held_out is not None
    assert run.history[-1].held_out > 0.9


@pytest.mark.parametrize("name", RECIPES)
def test_a_stored_recipe_can_be_rebuilt(name: str) -> None:
    """A recipe can be rebuilt from what a manifest stores."""
    assert from_dict(asdict(RECIPES[name])) == RECIPES[name]


@pytest.mark.training
def test_outliers_are_augmented_like_digits(parts: tuple[Digits, Digits], monkeypatch: pytest.MonkeyPatch) -> None:
    """Outliers go through the same augmentation in the same batch, so resampling does not give them away."""
    counts: list[int] = []

    def count_and_augment(images: torch.Tensor, *arguments: Any) -> torch.Tensor:
        counts.append(len(images))
        return augment(images, *arguments)

    monkeypatch.setattr(trainer, "augment", count_and_augment)
    run = fit(vary(epochs=1, junk=0.5), *parts, seed=0)
    assert set(counts) == {30}  # 20 digits and 10 outliers
    assert run.network.head.weight[10].abs().max() > 0  # the logit of "anything else" has learnt


@pytest.mark.training
def test_without_outliers_the_eleventh_logit_stays_at_zero(parts: tuple[Digits, Digits]) -> None:
    """A network that has seen only digits keeps its eleventh logit at 0."""
    network = fit(vary(epochs=1), *parts, seed=0).network
    assert network.head.weight[10].abs().max() == 0
    assert network.head.bias[10] == 0


@pytest.mark.training
def test_l1_shrinks_weights(parts: tuple[Digits, Digits]) -> None:
    """With a heavy penalty on absolute values, more weights end near 0."""

    def share_near_zero(l1: float) -> float:
        network = fit(vary(epochs=2, l1=l1), *parts, seed=0).network
        values = torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim > 1])
        return float((values.abs() < 1e-3).float().mean())

    assert share_near_zero(3e-3) > 2 * share_near_zero(0.0)
