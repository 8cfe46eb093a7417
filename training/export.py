"""A fitted network -> a model folder: graph, quantisation, calibration, golden digits, manifest.

Each artefact is checked against the one that it was made from before anything is written, and is calibrated as it
ships: an int8 graph has a temperature and thresholds of its own.
"""

import copy
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import safetensors.torch
import torch
from torch.utils.flop_counter import FlopCounterMode

from app import bundle
from app.bundle import Bundle, GoldenDigit, Manifest, NetworkEntry
from app.engine import Scores, open_engine, self_test
from app.network import Network, build
from training.calibrate import calibration, fit_class_means, fit_temperature_in, fit_temperature_of
from training.data import Digits
from training.evaluate import commit, measure_model
from training.graph import ExportError, check_agreement, quantise, run_graph, write_graph
from training.recipes import from_dict
from training.train import Epoch, Run, predict

GOLDEN_A_CLASS = 2


def export(run: Run, training: Digits, held_out: Digits | None, output: Path, version: str) -> Bundle:
    """Make a model folder of a run, whole or not at all.

    Args:
        training: digits that the network was trained on; the features of the classes are taken from them.
        held_out: digits that it was not trained on; without them nothing is calibrated and everything is accepted.

    Raises:
        ExportError: the graph or its quantised form departs from the network.
    """
    name = run.recipe.name
    network = copy.deepcopy(run.network).cpu().eval()
    fit_class_means(network, training)
    if held_out:
        fit_temperature_of(network, held_out)
    scores = Scores(*(part.numpy() for part in predict(network, (held_out or training).images)))

    with bundle.created(output) as folder:
        checkpoint, graph = folder / f"{name}.safetensors", folder / f"{name}.onnx"
        state = {key: value.contiguous() for key, value in network.state_dict().items()}
        safetensors.torch.save_file(state, checkpoint)
        write_graph(network, graph)
        check_agreement(network, graph, training.images[:1_000])
        if run.recipe.precision == "int8":
            quantise(graph, training, checked_on=held_out or training)
        graph_temperature = float(network.temperature)
        if held_out:
            graph_temperature = fit_temperature_in(graph, graph_temperature, held_out)
        graph_scores = run_graph(graph, (held_out or training).images.numpy())

        manifest = Manifest(
            name=name,
            version=version,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            networks={
                name: NetworkEntry(
                    architecture=run.recipe.architecture,
                    config=run.recipe.config,
                    parameters=sum(parameter.numel() for parameter in network.parameters()),
                    macs=count_macs(network),
                    checkpoint=checkpoint.name,
                    graph=graph.name,
                    precision=run.recipe.precision,
                )
            },
            calibration={
                "torch": calibration(float(network.temperature), scores, held_out),
                "onnxruntime": calibration(graph_temperature, graph_scores, held_out),
            },
            training=provenance(run, len(training), len(held_out) if held_out else 0),
            golden=choose_golden(held_out or training, scores, graph_scores),
            files={path.name: bundle.digest(path.read_bytes()) for path in (checkpoint, graph)},
        )
        bundle.write_manifest(folder, manifest)
        model = bundle.load(folder)
        for engine in ("onnxruntime", "torch"):
            self_test(open_engine(model, engine, "cpu", 1), model)
        if held_out:
            manifest = manifest.model_copy(update={"metrics": {"held_out": measure_model(model, held_out)}})
            bundle.write_manifest(folder, manifest)
    return bundle.load(output)


def read_model(folder: Path) -> Run:
    """Take up the run that a model folder was made from, to export it otherwise."""
    model = bundle.load(folder)
    entry, training = model.manifest.network, model.manifest.training
    network = build(entry.architecture, entry.config)
    network.load_state_dict(safetensors.torch.load(model.contents[entry.checkpoint]))
    return Run(
        recipe=from_dict(training["recipe"]),
        seed=training["seed"],
        network=network.eval(),
        history=[Epoch(**epoch) for epoch in training["history"]],
        seconds=training["seconds"],
    )


def count_macs(network: Network) -> int:
    """Multiply-adds of convolutions and linear layers, for one picture."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 28, 28, dtype=torch.uint8))
    return int(counter.get_total_flops()) // 2


def choose_golden(digits: Digits, *scores: Scores) -> list[GoldenDigit]:
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


def provenance(run: Run, trained_on: int, held_out: int) -> dict[str, Any]:
    """Where a model comes from."""
    return {
        "recipe": asdict(run.recipe),
        "seed": run.seed,
        "finished": run.finished,
        "epochs_done": len(run.history),
        "seconds": round(run.seconds, 1),
        "data": {"name": "MNIST, training split", "trained_on": trained_on, "held_out": held_out},
        "commit": commit(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "history": [asdict(epoch) for epoch in run.history],
    }
