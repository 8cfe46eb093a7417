"""A training run, and the checkpoint that stores it."""

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from app.inference.networks import Network, build_network
from training.data.mnist import Digits
from training.errors import RunError
from training.recipes import Recipe, from_dict

CHECKPOINT = "checkpoint.pt"  # in the folder OUTPUT.training

Arithmetic = Literal["bf16", "fp32"]  # of the network's forward pass


@dataclass(frozen=True)
class Epoch:
    """The result of one pass over the digits."""

    epoch: int  # from 1
    loss: float  # mean over the pass, on augmented digits
    accuracy: float  # likewise
    held_out: float | None  # accuracy on held-out digits, of the weights that would be kept
    seconds: float
    arithmetic: Arithmetic | None = None  # None: not recorded, in models up to digitnet-1.5.0
    device: str | None = None  # "cpu", or the name of the card; None: not recorded, likewise


@dataclass
class Run:
    """A training run, complete or so far. Its network has the weights to keep: averaged ones, if the recipe says so."""

    recipe: Recipe
    seed: int
    network: Network
    history: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    origin: str = ""  # see hash_origin

    @property
    def finished(self) -> bool:
        """Whether every epoch of the recipe is done."""
        return len(self.history) == self.recipe.epochs

    @property
    def arithmetic(self) -> list[Arithmetic]:
        """The arithmetic of its epochs. There are two if it was resumed on another kind of machine."""
        return list(dict.fromkeys(epoch.arithmetic for epoch in self.history if epoch.arithmetic))

    @property
    def devices(self) -> list[str]:
        """The devices of its epochs, likewise."""
        return list(dict.fromkeys(epoch.device for epoch in self.history if epoch.device))


def hash_origin(network: Network, digits: Digits) -> str:
    """Return a hash of the weights that a run starts from and of the digits that it trains on."""
    parts = (*network.state_dict().values(), digits.images, digits.labels)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, run: Run, network: Network, optimizer: torch.optim.SGD) -> None:
    """Write a run to a checkpoint. Until it is complete, the one before stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "recipe": asdict(run.recipe),
            "seed": run.seed,
            "origin": run.origin,
            "seconds": run.seconds,
            "history": [asdict(epoch) for epoch in run.history],
            "kept": run.network.state_dict(),
            "live": network.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        partial,
    )
    partial.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint. It may hold only tensors and plain values, never pickled code.

    Raises:
        RunError: There is no checkpoint.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunError(f"{path} does not exist, so there is nothing to resume.") from None
    return state


def restore_checkpoint(path: Path, run: Run, network: Network, optimizer: torch.optim.SGD) -> None:
    """Set a run, its live network and its optimiser to the state in a checkpoint.

    Raises:
        RunError: There is no checkpoint, or it is from another recipe or seed, or from other digits or weights.
    """
    state = read_checkpoint(path)
    if (state["recipe"], state["seed"]) != (asdict(run.recipe), run.seed):
        raise RunError(
            f"{path} is from another recipe or seed. Use that recipe and seed, or start again without --resume."
        )
    if state.get("origin") != run.origin:
        raise RunError(
            f"{path} is from a run with other digits or other initial weights. Use those, or start again without "
            "--resume."
        )
    network.load_state_dict(state["live"])
    run.network.load_state_dict(state["kept"])
    optimizer.load_state_dict(state["optimizer"])
    run.history = [Epoch(**epoch) for epoch in state["history"]]
    run.seconds = state["seconds"]


def load_checkpoint(path: Path) -> Run:
    """Load the run in a checkpoint as if it had ended there.

    Raises:
        RunError: There is no checkpoint.
    """
    state = read_checkpoint(path)
    recipe = from_dict(state["recipe"])
    network = build_network(recipe.architecture, recipe.config)
    network.load_state_dict(state["kept"])
    network.eval()
    history = [Epoch(**epoch) for epoch in state["history"]]
    return Run(recipe, state["seed"], network, history, state["seconds"])


def find_interrupted_run(folder: Path, resume: bool) -> None:
    """Check that a folder of checkpoints is there to resume, or is not there to start again.

    Raises:
        RunError: There is an interrupted run and ``resume`` is not set.
    """
    if not resume and any(folder.glob("*.pt")):
        raise RunError(
            f"{folder} has an interrupted run. Continue it with --resume, or remove the folder to start again."
        )


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, and its folder if nothing else is in it."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()
