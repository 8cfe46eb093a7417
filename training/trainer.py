"""The training loop: it turns a recipe and digits into a trained network and its history.

Each epoch draws its randomness only from (seed, epoch). So a run that is resumed from the checkpoint of any epoch ends
with the same weights as a run that was never interrupted, on the same kind of CPU with as many threads.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from app.inference.networks import DIGITS, Network, build_network
from training.batches import ask_teacher, compute_loss, iterate_batches
from training.data.mnist import Digits
from training.errors import RunError
from training.recipes import Recipe
from training.runs import Arithmetic, Epoch, Run, hash_origin, restore_checkpoint, save_checkpoint

WARM_UP = 0.2  # share of a one-cycle run over which the learning rate rises
TEACHER_SHARE = 0.5  # of the target; the rest is the label
STEPS_BETWEEN_REPORTS = 20
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")  # names of torch.cpu.get_capabilities; the last is Arm's


@dataclass(frozen=True)
class Step:
    """The progress of a run, to display."""

    epoch: int  # from 1
    batch: int  # from 1
    batches: int  # per epoch
    loss: float  # mean of the epoch so far
    accuracy: float
    images_per_second: float


def select_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda[:n]`` into a device of this machine.

    Raises:
        RunError: The name asks for a CUDA device that does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RunError(f"--device {name}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices")
    return device


def has_bf16(device: torch.device) -> bool:
    """Return whether a device has instructions for bf16. For CUDA, this asks the current device.

    torch also computes in bf16 without them, but a CPU that has only AVX2 then takes nine times as long as in fp32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not hasattr(torch.cpu, "get_capabilities"):  # before torch 2.11 only private names tell
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in BF16_INSTRUCTIONS)


def select_arithmetic(recipe: Recipe, device: torch.device) -> Arithmetic:
    """Return ``bf16`` if the recipe asks for it and the device has instructions for it, else ``fp32``."""
    return "bf16" if recipe.autocast and has_bf16(device) else "fp32"


def seed_epoch(seed: int, epoch: int, device: torch.device) -> Generator:
    """Seed all randomness of an epoch.

    Dropout draws from torch's global generators. This sets them, those of CUDA devices too.

    Returns:
        A generator for the order of the digits and for augmentation. Its seed is drawn from the global one, because
        with the same seed both would give the same numbers.
    """
    torch.manual_seed(seed * 1_000_003 + epoch)
    return Generator(device).manual_seed(int(torch.randint(2**62, ())))


def schedule_learning_rate(recipe: Recipe, progress: float) -> float:
    """Return the learning rate at ``progress`` in [0, 1] of the run.

    It is constant, or it rises in a line and falls in half a cosine.
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    if progress < WARM_UP:
        return recipe.learning_rate * (0.05 + 0.95 * progress / WARM_UP)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def make_optimizer(network: Network, recipe: Recipe) -> torch.optim.SGD:
    """Make an SGD optimiser that applies weight decay only to the weights of convolutions and linear layers."""
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
    """Move the averaged weights and batch-norm statistics a step towards the live ones."""
    for averaged, live in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if averaged.is_floating_point():
            averaged.lerp_(live, 1 - decay)
        else:
            averaged.copy_(live)


@torch.no_grad()
def predict(network: Network, images: Tensor, batch: int = 1_000) -> tuple[Tensor, Tensor]:
    """Run a network in inference mode. Return probabilities ``(N, 10)`` and typicality ``(N,)``."""
    network.eval()
    parts = [network(part) for part in images.split(batch)]
    return torch.cat([p for p, _ in parts]), torch.cat([t for _, t in parts])


def measure_accuracy(network: Network, digits: Digits) -> float:
    """Return the share of the digits that a network reads correctly."""
    probabilities, _ = predict(network, digits.images)
    return (probabilities.argmax(1) == digits.labels).float().mean().item()


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
    teacher: Network | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Run:
    """Carry out a recipe.

    Args:
        held_out: Digits to measure accuracy on after each epoch.
        checkpoint: Where to save the run after each epoch.
        resume: Continue from ``checkpoint``.
        start: Copy the initial weights from this network, instead of drawing them.
        teacher: A network whose answers are half of the target, if the recipe names its teachers.

    Raises:
        RunError: The checkpoint is from another recipe or seed, or from other digits or weights.
        KeyboardInterrupt: The run was interrupted. The checkpoint has the last complete epoch.
    """
    device = device or torch.device("cpu")
    digits = digits.to(device)
    held_out = held_out.to(device) if held_out else None

    torch.manual_seed(seed)
    network = copy.deepcopy(start) if start else build_network(recipe.architecture, recipe.config)
    network = network.to(device)
    if teacher:
        teacher = teacher.to(device).eval()
    network = network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    average = copy.deepcopy(network) if recipe.ema else network
    optimizer = make_optimizer(network, recipe)
    run = Run(recipe, seed, average, origin=hash_origin(network, digits) if checkpoint else "")
    if resume and checkpoint:
        restore_checkpoint(checkpoint, run, network, optimizer)
        for past in run.history:
            on_epoch(past)

    batches = math.ceil(len(digits) / recipe.batch)
    steps = recipe.epochs * batches
    arithmetic = select_arithmetic(recipe, device)
    for epoch in range(len(run.history) + 1, recipe.epochs + 1):
        started = time.perf_counter()
        generator = seed_epoch(seed, epoch, device)
        total_loss = torch.zeros((), device=device)
        correct = torch.zeros((), device=device)
        digits_seen = torch.zeros((), device=device)
        seen = 0
        network.train()
        first_step = (epoch - 1) * batches
        stream = iterate_batches(digits, recipe, first_step, steps, generator)
        for batch, (pictures, targets) in enumerate(stream, start=1):
            step = first_step + batch - 1
            for group in optimizer.param_groups:
                group["lr"] = schedule_learning_rate(recipe, step / steps)
            if teacher:
                targets = (1 - TEACHER_SHARE) * targets + TEACHER_SHARE * ask_teacher(teacher, pictures)
            with torch.autocast(device.type, torch.bfloat16, enabled=arithmetic == "bf16"):
                logits = network.logits(pictures).float()
            loss = compute_loss(logits, targets, network, recipe)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if recipe.ema:
                update_average(average, network, min(recipe.ema, (1 + step) / (10 + step)))
            total_loss += loss.detach() * len(pictures)
            labels = targets.argmax(1)
            correct += (logits.detach()[:, :DIGITS].argmax(1) == labels).sum()
            digits_seen += (labels < DIGITS).sum()
            seen += len(pictures)
            if batch % STEPS_BETWEEN_REPORTS == 0 or batch == batches:
                rate = seen / (time.perf_counter() - started)
                accuracy = (correct / digits_seen).item()
                on_step(Step(epoch, batch, batches, total_loss.item() / seen, accuracy, rate))
        run.history.append(
            Epoch(
                epoch=epoch,
                loss=total_loss.item() / seen,
                accuracy=(correct / digits_seen).item(),
                held_out=measure_accuracy(average, held_out) if held_out else None,
                seconds=time.perf_counter() - started,
                arithmetic=arithmetic,
                device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            )
        )
        run.seconds += run.history[-1].seconds
        if checkpoint:
            save_checkpoint(checkpoint, run, network, optimizer)
        on_epoch(run.history[-1])
    average.cpu().eval()  # what follows needs no GPU
    return run
