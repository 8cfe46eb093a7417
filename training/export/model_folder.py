"""Fitted networks -> a model folder: graph, quantisation, calibration, golden digits, manifest.

Each artefact is checked against the one that it was made from before anything is written, and is calibrated as it
ships: an int8 graph has a temperature and thresholds of its own.
"""

import copy
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import safetensors.torch
import torch
from torch.utils.flop_counter import FlopCounterMode

from app.inference import model_folder
from app.inference.model_folder import ModelFolder, Calibration, EngineName, Fitted, GoldenDigit, Manifest, NetworkEntry
from app.inference.engine_selection import open_engine
from app.inference.golden_digits import read_golden_digits
from app.inference.scores import Scores
from app.inference.networks import Committee, DigitNet, Network, build
from training.export.calibration import fit_cascade, fit_temperature_in, fit_temperature_of, fit_thresholds
from training.data.mnist import Digits
from training.export.early_exit import stop_early
from training.evaluation.metrics import ACCEPT_ALL, ENGINES, commit, keep_reference, measure_model
from training.export.onnx_graph import ExportError, check_agreement, quantise, run_graph, write_graph
from training.recipes import from_dict
from training.trainer import Epoch, Run, predict

GOLDEN_A_CLASS = 2


@dataclass(frozen=True)
class Part:
    """One network on its way into a model folder."""

    network: Network
    architecture: str
    config: dict[str, Any]
    precision: Literal["fp32", "int8"]
    or_plain: bool = False  # where a faster form of its graph would depart too far, do without rather than refuse

    @classmethod
    def of(cls, run: Run, or_plain: bool = False) -> "Part":
        recipe = run.recipe
        return cls(copy.deepcopy(run.network), recipe.architecture, recipe.config, recipe.precision, or_plain)

    def takes(self, form: Callable[[], None]) -> bool:
        """Give the graph a faster form, if that is near enough.

        Raises:
            ExportError: it is not, and nothing else will do.
        """
        try:
            form()
        except ExportError:
            if not self.or_plain:
                raise
            return False
        return True


@dataclass(frozen=True)
class Written:
    """A network in its files, fitted, and what each engine makes of the digits that decide."""

    entry: NetworkEntry
    fitted: dict[EngineName, Fitted]
    scores: dict[EngineName, Scores]


def export(run: Run, training: Digits, held_out: Digits | None, output: Path, version: str) -> ModelFolder:
    """Make a model folder of a run, whole or not at all.

    Args:
        training: digits that the network was trained on; int8 ranges are taken from them.
        held_out: digits that it was not trained on; without them nothing is calibrated and everything is accepted.

    Raises:
        ExportError: the graph or its quantised form departs from the network.
    """
    name = run.recipe.name
    return write_model(name, version, {name: Part.of(run)}, [run], training, held_out, output)


def export_cascade(
    fast: Run, careful: Sequence[Run], training: Digits, held_out: Digits, output: Path, version: str
) -> ModelFolder:
    """Make a model folder of a fast network and a committee of careful ones.

    Raises:
        ExportError: a graph departs from its network, or a careful run made no DigitNet.
    """
    members = [run.network for run in careful if isinstance(run.network, DigitNet)]
    if len(members) < len(careful):
        raise ExportError("a committee is made of DigitNets, and one of the careful runs is none")
    configs = [run.recipe.config for run in careful]
    committee = Part(Committee.of(members, configs), "Committee", {"members": configs}, careful[0].recipe.precision)
    parts = {"fast": Part.of(fast), "careful": committee}
    return write_model("digitnet", version, parts, [fast, *careful], training, held_out, output)


def write_model(
    name: str,
    version: str,
    parts: dict[str, Part],
    runs: Sequence[Run],
    training: Digits,
    held_out: Digits | None,
    output: Path,
) -> ModelFolder:
    """Write networks, manifest and figures into a folder, and read it back as the service will."""
    deciding = held_out or training
    with model_folder.write_atomically(output) as folder:
        written = {
            key: write_network(folder, key, part, training, held_out, deciding.images) for key, part in parts.items()
        }
        calibration = {}
        for engine in ENGINES:
            cascade = None
            if len(written) > 1:
                fast, careful = (written[key].scores[engine] for key in model_folder.CASCADE)
                cascade = fit_cascade(fast, careful)
            fitted = {key: network.fitted[engine] for key, network in written.items()}
            calibration[engine] = Calibration(networks=fitted, cascade=cascade, digits=len(held_out) if held_out else 0)
        entries = {key: network.entry for key, network in written.items()}
        files = [file for entry in entries.values() for file in (entry.checkpoint, entry.graph)]
        manifest = Manifest(
            name=name,
            version=version,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            networks=entries,
            calibration=calibration,
            training=provenance(runs, len(training), len(held_out) if held_out else 0),
            golden=choose_golden(deciding, [scores for each in written.values() for scores in each.scores.values()]),
            files={file: model_folder.digest((folder / file).read_bytes()) for file in files},
        )
        model_folder.write_manifest(folder, manifest)
        model = model_folder.load(folder)
        for engine in ENGINES:
            read_golden_digits(open_engine(model, engine, "cpu"), model)
        if held_out:
            manifest = manifest.model_copy(update={"metrics": {"held_out": measure_model(model, held_out)}})
            model_folder.write_manifest(folder, manifest)
            keep_reference(folder, held_out)
    return model_folder.load(output)


def write_network(
    folder: Path, name: str, part: Part, training: Digits, held_out: Digits | None, deciding: torch.Tensor
) -> Written:
    """Write one network as checkpoint and graph, fitting each on its own, and run both on the digits that decide."""
    network = part.network.cpu().eval()
    if held_out:
        fit_temperature_of(network, held_out)
    checkpoint, graph = folder / f"{name}.safetensors", folder / f"{name}.onnx"
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(state, checkpoint)
    write_graph(network, graph)
    check_agreement(network, graph, training.images[:1_000])
    checked_on = held_out or training
    in_int8 = part.precision == "int8" and part.takes(lambda: quantise(graph, training, checked_on))
    first = lightest(part.config["members"]) if isinstance(network, Committee) else []
    if first and not part.takes(lambda: stop_early(graph, first, part.config["members"], checked_on)):
        first = []
    temperature = float(network.temperature)
    temperatures: dict[EngineName, float] = {
        "torch": temperature,
        "onnxruntime": fit_temperature_in(graph, temperature, held_out) if held_out else temperature,
    }
    scores: dict[EngineName, Scores] = {
        "torch": Scores(*(values.numpy() for values in predict(network, deciding))),
        "onnxruntime": run_graph(graph, deciding.numpy()),
    }
    return Written(
        entry=NetworkEntry(
            architecture=part.architecture,
            config=part.config,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            macs=count_macs(network),
            checkpoint=checkpoint.name,
            graph=graph.name,
            precision="int8" if in_int8 else "fp32",
            first=first,
        ),
        fitted={
            engine: Fitted(
                temperature=temperatures[engine],
                thresholds=fit_thresholds(scores[engine]) if held_out else ACCEPT_ALL,
            )
            for engine in ENGINES
        },
        scores=scores,
    )


def read_model(folder: Path) -> Run:
    """Take up the run that a model folder of one network was made from, to export it otherwise or train it further.

    Raises:
        ExportError: the folder is of a cascade.
    """
    model = model_folder.load(folder)
    if model.manifest.cascades:
        raise ExportError(f"{folder} is a cascade: name the folders of the runs that it was made from")
    (name,) = model.manifest.networks
    return told_run(model.manifest.training["runs"][0], read_network(model, name))


def read_fast(folder: Path) -> Run:
    """Take up the run that the fast network of a cascade was made from."""
    model = model_folder.load(folder)
    return told_run(model.manifest.training["runs"][0], read_network(model, "fast"))


def read_committee(folder: Path) -> list[Run]:
    """Take up the runs that the careful network of a cascade was made from.

    Raises:
        ExportError: the folder is of no cascade with a committee.
    """
    model = model_folder.load(folder)
    committee = read_network(model, "careful") if model.manifest.cascades else None
    if not isinstance(committee, Committee):
        raise ExportError(f"{folder} has no committee of careful networks")
    networks = committee.apart(model.manifest.networks["careful"].config["members"])
    told = model.manifest.training["runs"][1:]  # the first is the fast one's
    return [told_run(each, network) for each, network in zip(told, networks, strict=True)]


def told_run(told: dict[str, Any], network: Network) -> Run:
    """A run as the manifest of a model tells of it."""
    return Run(
        recipe=from_dict(told["recipe"]),
        seed=told["seed"],
        network=network,
        history=[Epoch(**epoch) for epoch in told["history"]],
        seconds=told["seconds"],
    )


def read_network(model: ModelFolder, name: str) -> Network:
    """Rebuild one network of a model."""
    entry = model.manifest.networks[name]
    network = build(entry.architecture, entry.config)
    network.load_state_dict(safetensors.torch.load(model.contents[entry.checkpoint]))
    return network.eval()


def lightest(members: Sequence[dict[str, Any]]) -> list[int]:
    """The two lightest members of a committee, that of the fewest multiply-adds first; none of a committee of two."""
    macs = [count_macs(build("DigitNet", config)) for config in members]
    return sorted(range(len(members)), key=macs.__getitem__)[:2] if len(members) > 2 else []


def count_macs(network: Network) -> int:
    """Multiply-adds of convolutions and linear layers, for one picture."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 28, 28, dtype=torch.uint8))
    return int(counter.get_total_flops()) // 2


def choose_golden(digits: Digits, scores: Sequence[Scores]) -> list[GoldenDigit]:
    """Take the first few digits of each class that every engine reads rightly and surely."""
    labels = digits.labels.numpy()
    sure = np.ones(len(labels), bool)
    for score in scores:
        sure &= (score.probabilities.argmax(axis=1) == labels) & (score.probabilities.max(axis=1) > 0.9)
    golden = []
    for digit in range(10):
        chosen = np.flatnonzero(sure & (labels == digit))[:GOLDEN_A_CLASS]
        if len(chosen) < GOLDEN_A_CLASS:
            raise ExportError(
                f"the network reads fewer than {GOLDEN_A_CLASS} of the {digit}s surely: train it for longer"
            )
        golden += [GoldenDigit.model_construct(digit=digit, pixels=digits.images[i].numpy().tobytes()) for i in chosen]
    return golden


def provenance(runs: Sequence[Run], trained_on: int, held_out: int) -> dict[str, Any]:
    """Where a model comes from."""
    return {
        "finished": all(run.finished for run in runs),
        "data": {"name": "MNIST, training split", "trained_on": trained_on, "held_out": held_out},
        "commit": commit(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "runs": [
            {
                "recipe": asdict(run.recipe),
                "seed": run.seed,
                "epochs_done": len(run.history),
                "seconds": round(run.seconds, 1),
                "history": [asdict(epoch) for epoch in run.history],
            }
            for run in runs
        ],
    }
