"""The training loop learns, repeats, resumes to the same weights, and loses nothing if it is interrupted."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from app.inference.networks import Network, build_network
from tests.support.small_training import SMALL, vary, write_small_mnist
from training.batches import schedule_strength
from training.data.mnist import Digits, hold_out, load
from training.errors import RunError
from training.provenance import describe_provenance
from training.recipes import FAST, TEXTBOOK
from training.runs import Arithmetic, Epoch, load_checkpoint, read_checkpoint
from training.trainer import (
    Step,
    fit,
    schedule_learning_rate,
    seed_epoch,
    select_arithmetic,
    select_device,
)


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


def fake_cpu(monkeypatch: pytest.MonkeyPatch, *instructions: str) -> None:
    """Let torch report a CPU that has only these instructions."""
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", **dict.fromkeys(instructions, True)}
    )


@pytest.mark.training
@pytest.mark.parametrize(("arithmetic", "is_taught"), [("fp32", True), ("bf16", False)])
def test_a_resumed_run_ends_as_if_never_stopped(
    arithmetic: Arithmetic,
    is_taught: bool,
    parts: tuple[Digits, Digits],
    threes: Network,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With all that a shipped recipe draws at random, a run that was interrupted in its third epoch ends bit for bit
    like an uninterrupted one: averaged and live weights, optimiser and history."""
    fake_cpu(monkeypatch, *["amx_bf16"] * (arithmetic == "bf16"))  # any CPU computes in bf16, if slowly
    recipe = vary(
        config={**SMALL.config, "dropout": 0.3},
        epochs=4,
        dirt=FAST.dirt,
        junk=FAST.junk,
        variants=FAST.variants,
        ease=0.5,
        autocast=True,
        teachers=("threes-1.0.0",) * is_taught,
    )
    teacher = threes if is_taught else None
    assert recipe.ema
    whole_checkpoint, checkpoint = tmp_path / "whole" / "checkpoint.pt", tmp_path / "run" / "checkpoint.pt"
    whole = fit(recipe, *parts, seed=3, checkpoint=whole_checkpoint, teacher=teacher)

    def interrupt(step: Step) -> None:
        if step.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recipe, *parts, seed=3, checkpoint=checkpoint, teacher=teacher, on_step=interrupt)
    assert len(load_checkpoint(checkpoint).history) == 2
    shown: list[Epoch] = []
    resumed = fit(recipe, *parts, seed=3, checkpoint=checkpoint, resume=True, teacher=teacher, on_epoch=shown.append)

    expected, state = read_checkpoint(whole_checkpoint), read_checkpoint(checkpoint)
    for name in ("kept", "live", "optimizer"):
        torch.testing.assert_close(state[name], expected[name], rtol=0, atol=0)
    assert torch.equal(weights(whole.network), weights(resumed.network))
    assert not all(torch.equal(state["kept"][key], live) for key, live in state["live"].items())
    assert [epoch.loss for epoch in resumed.history] == [epoch.loss for epoch in whole.history]
    assert [epoch.epoch for epoch in shown] == [1, 2, 3, 4]
    assert resumed.arithmetic == whole.arithmetic == [arithmetic]


def test_each_epoch_has_its_own_randomness() -> None:
    """Seed and epoch decide what dropout and the generator draw. The two do not draw the same numbers."""

    def draw(seed: int, epoch: int) -> tuple[float, float]:
        generator = seed_epoch(seed, epoch, torch.device("cpu"))
        return torch.rand(()).item(), torch.rand((), generator=generator).item()

    assert draw(0, 1) == draw(0, 1)
    assert len({number for seed, epoch in ((0, 1), (0, 2), (1, 1), (1, 2)) for number in draw(seed, epoch)}) == 8


@pytest.mark.parametrize(
    ("instructions", "arithmetic"),
    [
        ((), "fp32"),
        (("avx2", "avx512_f", "amx_tile", "amx_int8", "fp16_arith"), "fp32"),
        (("avx2", "avx512_f", "avx512_bf16"), "bf16"),
        (("amx_tile", "amx_bf16"), "bf16"),
        (("neon", "bf16"), "bf16"),
    ],
)
def test_a_cpu_computes_in_bf16_only_with_instructions_for_it(
    instructions: tuple[str, ...], arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AVX2, AVX-512 and AMX alone are not enough. A recipe that does not ask for bf16 never gets it."""
    fake_cpu(monkeypatch, *instructions)
    assert select_arithmetic(FAST, torch.device("cpu")) == arithmetic
    assert select_arithmetic(TEXTBOOK, torch.device("cpu")) == "fp32"


def test_before_torch_2_11_a_cpu_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """These versions have no public function that names the instructions of a CPU."""
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert select_arithmetic(FAST, torch.device("cpu")) == "fp32"


@pytest.mark.parametrize(("supported", "arithmetic"), [(True, "bf16"), (False, "fp32")])
def test_a_cuda_device_computes_in_bf16_only_if_it_need_not_emulate_it(
    supported: bool, arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulated bf16 does not count."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or supported
    )
    assert select_arithmetic(FAST, torch.device("cuda")) == arithmetic
    assert select_arithmetic(TEXTBOOK, torch.device("cuda")) == "fp32"


@pytest.mark.training
@pytest.mark.parametrize(("instruction", "arithmetic"), [("avx2", "fp32"), ("amx_bf16", "bf16")])
def test_a_run_says_which_arithmetic_it_uses(
    instruction: str,
    arithmetic: Arithmetic,
    parts: tuple[Digits, Digits],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The provenance has it. The convolutions do compute in it."""
    fake_cpu(monkeypatch, instruction)
    dtypes: set[torch.dtype] = set()
    convolve = F.conv2d

    def record_and_convolve(*arguments: Any) -> torch.Tensor:
        output = convolve(*arguments)
        dtypes.add(output.dtype)
        return output

    monkeypatch.setattr(F, "conv2d", record_and_convolve)
    run = fit(vary(epochs=2, autocast=True), parts[0])
    assert describe_provenance([run], 600, None)["runs"][0]["arithmetic"] == [arithmetic]
    assert dtypes == {torch.bfloat16 if arithmetic == "bf16" else torch.float32}


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
    """Resuming with another recipe, other teachers or another seed is an error."""
    checkpoint = tmp_path / "checkpoint.pt"
    fit(vary(epochs=1), *parts, checkpoint=checkpoint)
    for recipe, seed in ((vary(epochs=1, batch=50), 0), (vary(epochs=1, teachers=("other",)), 0), (vary(epochs=1), 1)):
        with pytest.raises(RunError, match="another recipe or seed"):
            fit(recipe, *parts, seed=seed, checkpoint=checkpoint, resume=True)


@pytest.mark.training
@pytest.mark.parametrize("other", ["digits", "weights"])
def test_a_checkpoint_of_other_digits_or_weights_is_refused(
    other: str, parts: tuple[Digits, Digits], tmp_path: Path
) -> None:
    """Resuming on other digits, or from another network, is an error: the result would be neither run's."""
    checkpoint, (digits, held_out) = tmp_path / "checkpoint.pt", parts
    recipe = vary(epochs=1)
    fit(recipe, digits, held_out, checkpoint=checkpoint)
    start = build_network(recipe.architecture, recipe.config) if other == "weights" else None
    reordered = digits.take(torch.arange(len(digits)).flip(0)) if other == "digits" else digits
    with pytest.raises(RunError, match="other digits or other initial weights"):
        fit(recipe, reordered, held_out, checkpoint=checkpoint, resume=True, start=start)


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
