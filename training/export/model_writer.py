"""Writes a model folder from trained networks: graphs, calibration, golden digits, manifest.

Each file is checked against the one that it was made from before anything is written, and is calibrated as it ships:
an int8 graph has its own temperature and thresholds.
"""

import copy
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch

from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.golden_digits import read_golden_digits
from app.inference.model_folder import (
    Calibration,
    EngineName,
    Manifest,
    ModelFolder,
    NetworkCalibration,
    NetworkEntry,
)
from app.inference.networks import Committee, Network
from app.inference.scores import Scores
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.errors import ExportError
from training.evaluation.held_out import store_held_out_figures
from training.evaluation.metrics import ACCEPT_ALL, ENGINES
from training.export.calibration import fit_cascade, fit_graph_temperature, fit_network_temperature, fit_thresholds
from training.export.early_exit import add_early_exit, find_lightest_members
from training.export.golden_digits import select_golden_digits
from training.export.int8 import quantize
from training.export.network_size import count_macs
from training.export.onnx_graph import check_agreement, run_graph, write_graph
from training.export.saved_runs import make_committee
from training.provenance import describe_provenance
from training.runs import Run
from training.trainer import predict

AGREEMENT_DIGITS = 1_000  # training digits on which the graph is compared with torch


@dataclass(frozen=True)
class NetworkToExport:
    """A network, and how to export it."""

    network: Network
    architecture: str
    config: dict[str, Any]
    precision: Literal["fp32", "int8"]
    allow_fallback: bool = False  # if a faster graph differs too much, keep the slower one instead of failing

    @classmethod
    def from_run(cls, run: Run, allow_fallback: bool = False) -> "NetworkToExport":
        """Export the network of a run as its recipe says."""
        recipe = run.recipe
        return cls(copy.deepcopy(run.network), recipe.architecture, recipe.config, recipe.precision, allow_fallback)

    def try_rewrite(self, rewrite: Callable[[], None]) -> bool:
        """Rewrite the graph into a faster one. Return whether this worked.

        Raises:
            ExportError: The faster graph differs too much, and no fallback is allowed.
        """
        try:
            rewrite()
        except ExportError:
            if not self.allow_fallback:
                raise
            return False
        return True


@dataclass(frozen=True)
class ExportedNetwork:
    """A network in its files, calibrated, and its scores on the digits that thresholds are fitted on."""

    entry: NetworkEntry
    fitted: dict[EngineName, NetworkCalibration]
    scores: dict[EngineName, Scores]


def export_run(
    run: Run,
    training: Digits,
    held_out: HeldOut | None,
    output: Path,
    version: str,
    force: bool = False,
    *,
    name: str | None = None,
    allow_fallback: bool = False,
) -> ModelFolder:
    """Write a model folder from a run.

    Args:
        training: Digits that the network was trained on. The ranges of int8 are measured on them.
        held_out: Digits that it was not trained on. Without them, nothing is calibrated and everything is accepted.
        force: Replace an existing model folder.
        name: Name of the model. Without it, the recipe's.
        allow_fallback: If a faster graph differs too much, keep the slower one instead of failing.

    Raises:
        ExportError: The graph or its int8 version differs from the network, or the folder exists.
    """
    networks = {run.recipe.name: NetworkToExport.from_run(run, allow_fallback)}
    return write_model(name or run.recipe.name, version, networks, [run], training, held_out, output, force)


def export_cascade(
    fast: Run,
    careful: Sequence[Run],
    training: Digits,
    held_out: HeldOut,
    output: Path,
    version: str,
    force: bool = False,
    *,
    name: str = "digitnet",
    allow_fallback: bool = False,
) -> ModelFolder:
    """Write a model folder from a fast network and a committee of careful ones. The arguments are as above.

    Raises:
        ExportError: A graph differs from its network, a careful network is not a DigitNet, or the folder exists.
    """
    members = {"members": [run.recipe.config for run in careful]}
    precision = careful[0].recipe.precision
    networks = {
        "fast": NetworkToExport.from_run(fast, allow_fallback),
        "careful": NetworkToExport(make_committee(careful), "Committee", members, precision, allow_fallback),
    }
    return write_model(name, version, networks, [fast, *careful], training, held_out, output, force)


def write_model(
    name: str,
    version: str,
    networks: dict[str, NetworkToExport],
    runs: Sequence[Run],
    training: Digits,
    held_out: HeldOut | None,
    output: Path,
    force: bool = False,
) -> ModelFolder:
    """Write networks, manifest and metrics into a folder, and read it back as the service does.

    Args:
        runs: The runs that the networks were made from, for the record.
        force: Replace an existing model folder.
    """
    fitted_on = held_out.digits if held_out else training
    with write_folder(output, force) as folder:
        exported = {
            key: export_network(folder, key, network, training, held_out, fitted_on.images)
            for key, network in networks.items()
        }
        calibration = {}
        for engine in ENGINES:
            cascade = None
            if len(exported) > 1 and held_out:
                fast, careful = (exported[key].scores[engine] for key in model_folder.CASCADE)
                cascade = fit_cascade(fast, careful, held_out)
            fitted = {key: network.fitted[engine] for key, network in exported.items()}
            calibration[engine] = Calibration(networks=fitted, cascade=cascade, digits=len(held_out) if held_out else 0)
        entries = {key: network.entry for key, network in exported.items()}
        files = [file for entry in entries.values() for file in (entry.checkpoint, entry.graph)]
        all_scores = [scores for network in exported.values() for scores in network.scores.values()]
        manifest = Manifest(
            name=name,
            version=version,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            networks=entries,
            calibration=calibration,
            training=describe_provenance(runs, len(training), held_out),
            golden=select_golden_digits(fitted_on, all_scores),
            files={file: model_folder.sha256_of((folder / file).read_bytes()) for file in files},
        )
        model_folder.write_manifest(folder, manifest)
        model = model_folder.load(folder)
        for engine in ENGINES:
            read_golden_digits(open_engine(model, engine, "cpu"), model)
        if held_out:
            store_held_out_figures(folder, held_out)
    return model_folder.load(output)


@contextmanager
def write_folder(output: Path, force: bool) -> Iterator[Path]:
    """Give a temporary folder that becomes ``output`` when the block succeeds, and is deleted when it fails.

    A new folder appears complete, by one rename. Replacing a model takes two: the old folder is moved aside, then the
    new one takes its name. For that moment there is no ``output``. If the machine stops just then, the old folder is
    ``old`` in the hidden folder beside it.

    Args:
        force: Replace an existing model folder. Nothing else is ever replaced.

    Raises:
        ExportError: ``output`` exists.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))  # a new name after each crash
    new, old = temporary / "new", temporary / "old"
    try:
        new.mkdir()
        yield new
        new.chmod(0o755)  # another user may serve the model
        for path in new.iterdir():
            path.chmod(0o644)
        try:
            if force and not output.is_symlink() and (output / model_folder.MANIFEST).is_file():
                output.rename(old)
            new.rename(output)  # the system refuses this for a file, a link, or a folder that is not empty
        except OSError as error:
            raise ExportError(f"{output} exists or cannot be written: {error}") from None
        finally:
            if old.exists() and not output.exists():
                old.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def export_network(
    folder: Path,
    name: str,
    export: NetworkToExport,
    training: Digits,
    held_out: HeldOut | None,
    fitted_on: torch.Tensor,
) -> ExportedNetwork:
    """Write one network as checkpoint and graph, fit each on its own, and run both on ``fitted_on``."""
    network = export.network.cpu().eval()
    if held_out:
        fit_network_temperature(network, held_out)
    checkpoint, graph = folder / f"{name}.safetensors", folder / f"{name}.onnx"
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(state, checkpoint)
    write_graph(network, graph)
    check_agreement(network, graph, training.images[:AGREEMENT_DIGITS])
    checked_on = held_out.digits if held_out else training
    is_int8 = export.precision == "int8" and export.try_rewrite(lambda: quantize(graph, training, checked_on))
    first = find_lightest_members(export.config["members"]) if isinstance(network, Committee) else []
    if first and not export.try_rewrite(lambda: add_early_exit(graph, first, export.config["members"], checked_on)):
        first = []
    temperature = float(network.temperature)
    temperatures: dict[EngineName, float] = {
        "torch": temperature,
        "onnxruntime": fit_graph_temperature(graph, temperature, held_out) if held_out else temperature,
    }
    scores: dict[EngineName, Scores] = {
        "torch": Scores(*(values.numpy() for values in predict(network, fitted_on))),
        "onnxruntime": run_graph(graph, fitted_on.numpy()),
    }
    return ExportedNetwork(
        entry=NetworkEntry(
            architecture=export.architecture,
            config=export.config,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            macs=count_macs(network),
            checkpoint=checkpoint.name,
            graph=graph.name,
            precision="int8" if is_int8 else "fp32",
            first=first,
        ),
        fitted={
            engine: NetworkCalibration(
                temperature=temperatures[engine],
                thresholds=fit_thresholds(scores[engine], held_out) if held_out else ACCEPT_ALL,
            )
            for engine in ENGINES
        },
        scores=scores,
    )
