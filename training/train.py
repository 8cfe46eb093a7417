"""The training loop: a recipe and digits in, a fitted network and its history out.

Each epoch draws its randomness from (seed, epoch) alone, so that a run continued from the checkpoint of any epoch
ends in the same weights as one that was never stopped (on a CPU, with the same number of threads).

Knows nothing of model folders: ``export.py`` makes those.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.network import DIGITS, Network, build
from training.augment import augment
from training.data import Digits
from training.dirt import soil
from training.junk import junk
from training.recipes import Recipe, from_dict

WARM_UP = 0.2  # share of a one-cycle run over which the learning rate rises


class TrainingError(Exception):
    """A run that cannot be started or continued as asked."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the digits came to."""

    epoch: int  # from 1
    loss: float  # mean over the pass, augmented as it was
    accuracy: float  # likewise
    held_out: float | None  # accuracy on held-out digits, of the weights that would be kept
    seconds: float


@dataclass(frozen=True)
class Step:
    """Where a run is, for whoever shows progress."""

    epoch: int  # from 1
    batch: int  # from 1
    batches: int  # an epoch
    loss: float  # mean of the epoch so far
    accuracy: float
    images_per_second: float


@dataclass
class Run:
    """A training run, whole or so far. Its network is the one to keep: averaged, where the recipe averages."""

    recipe: Recipe
    seed: int
    network: Network
    history: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        return len(self.history) == self.recipe.epochs


def device_named(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda[:n]`` into a device that is here.

    Raises:
        TrainingError: CUDA was asked for by name and is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TrainingError(f"--device {name}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices")
    return device


def learning_rate(recipe: Recipe, progress: float) -> float:
    """The learning rate at ``progress`` in [0, 1] of the run: constant, or up in a line and down in half a cosine."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    if progress < WARM_UP:
        return recipe.learning_rate * (0.05 + 0.95 * progress / WARM_UP)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def strength(recipe: Recipe, progress: float) -> float:
    """How much augmentation and dirt there is: all of it, fading to ``ease_to`` over the last ``ease`` of the run."""
    if recipe.ease == 0.0:
        return 1.0
    return recipe.ease_to + (1 - recipe.ease_to) * min(1.0, (1.0 - progress) / recipe.ease)


def make_optimizer(network: Network, recipe: Recipe) -> torch.optim.SGD:
    """SGD, with weight decay on the weights of convolutions and linear layers and on nothing else."""
    parameters = list(network.parameters())
    return torch.optim.SGD(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )


@torch.no_grad()
def update_average(average: Network, network: Network, decay: float) -> None:
    """Move the averaged weights, and the batch-norm statistics with them, a step towards the live ones."""
    for kept, live in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(live, 1 - decay)
        else:
            kept.copy_(live)


@torch.no_grad()
def predict(network: Network, images: Tensor, batch: int = 1_000) -> tuple[Tensor, Tensor]:
    """Run a network in inference mode: probabilities ``(N, 10)`` and typicality ``(N,)``."""
    network.eval()
    parts = [network(part) for part in images.split(batch)]
    return torch.cat([p for p, _ in parts]), torch.cat([t for _, t in parts])


def accuracy(network: Network, digits: Digits) -> float:
    probabilities, _ = predict(network, digits.images)
    return (probabilities.argmax(1) == digits.labels).float().mean().item()


def shuffled(digits: Digits, batch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over the digits in a new order. The last, smaller batch is part of it."""
    order = torch.randperm(len(digits), generator=generator, device=digits.labels.device)
    for index in order.split(batch):
        yield digits.images[index], digits.labels[index]


def fit(
    recipe: Recipe,
    digits: Digits,
    held_out: Digits | None = None,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    start: Network | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Run:
    """Carry out a recipe.

    The network starts from fresh weights, or from those of ``start``. With ``checkpoint``, the run is saved there after
    each epoch, whole or not at all; with ``resume`` it goes on from what is there.

    Raises:
        TrainingError: the checkpoint is of another recipe or seed.
        KeyboardInterrupt: the run was stopped; the checkpoint holds the last epoch that was completed.
    """
    device = device or torch.device("cpu")
    digits = digits.to(device)
    held_out = held_out.to(device) if held_out else None

    torch.manual_seed(seed)
    network = copy.deepcopy(start) if start else build(recipe.architecture, recipe.config)
    network = network.to(device)
    network = network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    average = copy.deepcopy(network) if recipe.ema else network
    optimizer = make_optimizer(network, recipe)
    run = Run(recipe, seed, average)
    if resume and checkpoint:
        restore(checkpoint, run, network, optimizer)
        for past in run.history:
            on_epoch(past)

    batches = math.ceil(len(digits) / recipe.batch)
    steps = recipe.epochs * batches
    for epoch in range(len(run.history) + 1, recipe.epochs + 1):
        started = time.perf_counter()
        generator = torch.Generator(device).manual_seed(seed * 1_000_003 + epoch)
        total_loss = torch.zeros((), device=device)
        correct = torch.zeros((), device=device)
        seen = 0
        network.train()
        for batch, (images, labels) in enumerate(shuffled(digits, recipe.batch, generator), start=1):
            step = (epoch - 1) * batches + batch - 1
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step / steps)
            if recipe.junk:  # before it is bent, or junk could be told by not having been resampled
                scraps = junk(images, labels, round(len(labels) * recipe.junk), generator)
                images = torch.cat([images.float(), scraps])
            amount = strength(recipe, step / steps)
            if recipe.augmentation:
                images = augment(images, recipe.augmentation, generator, amount)
            if recipe.dirt:
                images = soil(images.float(), recipe.dirt * amount, generator)
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.autocast):
                logits = network.logits(images).float()
            if recipe.junk:
                loss = F.cross_entropy(logits, F.pad(labels, (0, len(images) - len(labels)), value=DIGITS))
            else:
                loss = F.cross_entropy(logits[:, :DIGITS], labels)
            if recipe.l1:
                loss = loss + recipe.l1 * sum(p.abs().sum() for p in network.parameters() if p.ndim > 1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if recipe.ema:
                update_average(average, network, min(recipe.ema, (1 + step) / (10 + step)))
            total_loss += loss.detach() * len(labels)
            correct += (logits.detach()[: len(labels), :DIGITS].argmax(1) == labels).sum()
            seen += len(labels)
            if batch % 20 == 0 or batch == batches:
                rate = seen / (time.perf_counter() - started)
                on_step(Step(epoch, batch, batches, total_loss.item() / seen, correct.item() / seen, rate))
        run.history.append(
            Epoch(
                epoch=epoch,
                loss=total_loss.item() / seen,
                accuracy=correct.item() / seen,
                held_out=accuracy(average, held_out) if held_out else None,
                seconds=time.perf_counter() - started,
            )
        )
        run.seconds += run.history[-1].seconds
        if checkpoint:
            save(checkpoint, run, network, optimizer)
        on_epoch(run.history[-1])
    average.eval()
    return run


def save(path: Path, run: Run, network: Network, optimizer: torch.optim.SGD) -> None:
    """Write a run, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "recipe": asdict(run.recipe),
            "seed": run.seed,
            "seconds": run.seconds,
            "history": [asdict(epoch) for epoch in run.history],
            "kept": run.network.state_dict(),
            "live": network.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        partial,
    )
    partial.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values alone, never pickled code."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"{path} is not there: nothing to continue from") from None
    return state


def restore(path: Path, run: Run, network: Network, optimizer: torch.optim.SGD) -> None:
    """Bring a run to where the checkpoint left it."""
    state = read(path)
    if (state["recipe"], state["seed"]) != (asdict(run.recipe), run.seed):
        raise TrainingError(f"{path} is of another recipe or seed. Take that one, or start anew without --resume.")
    network.load_state_dict(state["live"])
    run.network.load_state_dict(state["kept"])
    optimizer.load_state_dict(state["optimizer"])
    run.history = [Epoch(**epoch) for epoch in state["history"]]
    run.seconds = state["seconds"]


def load_run(path: Path) -> Run:
    """Read what a checkpoint would keep if the run ended there."""
    state = read(path)
    recipe = from_dict(state["recipe"])
    network = build(recipe.architecture, recipe.config)
    network.load_state_dict(state["kept"])
    network.eval()
    return Run(recipe, state["seed"], network, [Epoch(**epoch) for epoch in state["history"]], state["seconds"])


def discard(path: Path) -> None:
    """Remove a checkpoint whose run has been exported, and its folder if nothing else is there."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()
