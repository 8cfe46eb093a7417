"""Rebuilds runs from model folders, to export them again or to train them further."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from app.inference.networks import Committee, DigitNet, Network, build_network
from training.errors import ExportError
from training.recipes import from_dict
from training.runs import CHECKPOINT, Epoch, Run, load_checkpoint


def load_run(source: Path) -> Run:
    """Load the run from the folder of an interrupted training, or from a model folder of one network.

    Raises:
        ExportError: The model is a cascade.
    """
    if (source / CHECKPOINT).is_file():
        return load_checkpoint(source / CHECKPOINT)
    model = model_folder.load(source)
    if model.manifest.has_cascade:
        raise ExportError(f"{source} is a cascade. Name the folders of the runs that it was made from.")
    (name,) = model.manifest.networks
    return rebuild_run(model.manifest.training["runs"][0], load_network(model, name))


def load_fast_run(folder: Path) -> Run:
    """Load the run of a cascade's fast network."""
    model = model_folder.load(folder)
    return rebuild_run(model.manifest.training["runs"][0], load_network(model, "fast"))


def load_committee_runs(folder: Path) -> list[Run]:
    """Load the runs of a cascade's committee, the careful network.

    Raises:
        ExportError: The model has no committee.
    """
    model = model_folder.load(folder)
    committee = load_network(model, "careful") if model.manifest.has_cascade else None
    if not isinstance(committee, Committee):
        raise ExportError(f"{folder} has no committee of careful networks.")
    networks = committee.split(model.manifest.networks["careful"].config["members"])
    runs = model.manifest.training["runs"][1:]  # the first is the run of the fast network
    return [rebuild_run(values, network) for values, network in zip(runs, networks, strict=True)]


def load_careful_runs(folders: Sequence[Path]) -> list[Run]:
    """Load careful runs. A cascade stands for the runs of its committee.

    Raises:
        ExportError: A network is not a DigitNet.
    """
    runs: list[Run] = []
    for folder in folders:
        runs += load_committee_runs(folder) if is_cascade(folder) else [load_run(folder)]
    if any(not isinstance(run.network, DigitNet) for run in runs):
        raise ExportError("A committee consists of DigitNets, but a run has another architecture.")
    return runs


def load_teacher(folders: Sequence[Path]) -> Committee | None:
    """Load the network whose answer is the mean of some models' answers. Without folders there is none.

    Raises:
        ExportError: A network is not a DigitNet.
    """
    return make_committee(load_careful_runs(folders)) if folders else None


def make_committee(runs: Sequence[Run]) -> Committee:
    """Combine the networks of runs.

    Raises:
        ExportError: A network is not a DigitNet.
    """
    members = [run.network for run in runs if isinstance(run.network, DigitNet)]
    if len(members) < len(runs):
        raise ExportError("A committee consists of DigitNets, but a run has another architecture.")
    return Committee.from_networks(members, [run.recipe.config for run in runs])


def is_cascade(source: Path) -> bool:
    """Return whether a folder is a model folder of a cascade."""
    return not (source / CHECKPOINT).is_file() and model_folder.load(source).manifest.has_cascade


def rebuild_run(values: dict[str, Any], network: Network) -> Run:
    """Rebuild a run from its entry in a manifest."""
    return Run(
        recipe=from_dict(values["recipe"]),
        seed=values["seed"],
        network=network,
        history=[Epoch(**epoch) for epoch in values["history"]],
        seconds=values["seconds"],
    )


def load_network(model: ModelFolder, name: str) -> Network:
    """Rebuild one network of a model."""
    entry = model.manifest.networks[name]
    network = build_network(entry.architecture, entry.config)
    network.load_state_dict(safetensors.torch.load(model.contents[entry.checkpoint]))
    return network.eval()
