"""A fitted network -> a model folder: graph, quantisation, calibration, golden digits, manifest.

Each artefact is checked against the one that it was made from before anything is written, and is calibrated as it
ships: an int8 graph has a temperature and thresholds of its own.
"""

import copy
import logging
import math
import os
import platform
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import safetensors.torch
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from scipy.optimize import minimize_scalar
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from app import bundle
from app.bundle import Bundle, Calibration, GoldenDigit, Manifest, NetworkEntry, Thresholds
from app.engine import Scores, open_engine, self_test
from app.network import Network, build
from training.data import Digits
from training.evaluate import commit, measure_model, score_all
from training.recipes import from_dict
from training.train import Epoch, Run, predict

ACCEPTED = 0.995  # share of held-out digits that the thresholds let pass, all reasons together
AGREEMENT = 1e-4  # between torch and the fp32 graph, in any probability
SAME_CLASS = 0.9995  # share of digits that a quantised graph must read as the fp32 one does
GOLDEN_A_CLASS = 2


class ExportError(Exception):
    """An artefact does not do what the one it was made from does. Nothing was written."""


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
        graph_temperature = temperature_of(network)
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
                "torch": calibration(temperature_of(network), scores, held_out),
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


@torch.no_grad()
def fit_class_means(network: Network, digits: Digits) -> None:
    """Store the direction in which the features of each class lie."""
    features = torch.cat([network.penultimate(part) for part in digits.images[:20_000].split(1_000)])
    features = nn.functional.normalize(features, dim=1)
    labels = digits.labels[:20_000]
    means = torch.stack([features[labels == digit].mean(dim=0) for digit in range(10)])
    network.class_means.copy_(nn.functional.normalize(means, dim=1))


def fit_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature, relative to the one already applied, at which the labels are likeliest.

    Where nothing is misread there is no error to learn doubt from: the likeliest temperature would be 0, and the one
    already applied stays.
    """
    if (probabilities.argmax(axis=1) == labels).all():
        return 1.0
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))

    def nll(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled -= np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        return float(-scaled[np.arange(len(labels)), labels].mean())

    return math.exp(minimize_scalar(nll, bounds=(-3, 3), method="bounded").x)


def temperature_of(network: Network) -> float:
    return float(network.temperature)


def fit_temperature_of(network: Network, held_out: Digits) -> None:
    """Fit the temperature of a network, and keep it there."""
    probabilities, _ = predict(network, held_out.images)
    network.temperature.mul_(fit_temperature(probabilities.numpy(), held_out.labels.numpy()))


def fit_temperature_in(graph: Path, temperature: float, held_out: Digits) -> float:
    """Fit the temperature of a graph that has this one, and keep it there."""
    relative = fit_temperature(run_graph(graph, held_out.images.numpy()).probabilities, held_out.labels.numpy())
    set_temperature(graph, temperature * relative)
    return temperature * relative


def set_temperature(graph: Path, temperature: float) -> None:
    model = onnx.load(graph)
    stored = next(value for value in model.graph.initializer if value.name == "temperature")
    stored.CopyFrom(numpy_helper.from_array(np.array(temperature, np.float32), "temperature"))
    onnx.save(model, graph)


def calibration(temperature: float, scores: Scores, held_out: Digits | None) -> Calibration:
    """Set thresholds so that held-out digits pass at the agreed share: half of what fails, for either reason.

    Without held-out digits, everything passes.
    """
    if held_out is None:
        return Calibration(temperature=temperature, thresholds=Thresholds(confidence=0, typicality=-1), digits=0)
    share = (1 - ACCEPTED) / 2

    def floor(values: NDArray[np.float32]) -> float:
        return math.floor(float(np.quantile(values, share)) * 1e4) / 1e4

    thresholds = Thresholds(confidence=floor(scores.probabilities.max(axis=1)), typicality=floor(scores.typicality))
    return Calibration(temperature=temperature, thresholds=thresholds, digits=len(held_out))


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Fold each batch-norm into the convolution before it: the same function, one operation less."""
    if isinstance(module, nn.Sequential):
        layers: list[nn.Module] = []
        for layer in module:
            previous = layers[-1] if layers else None
            if isinstance(layer, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d):
                layers[-1] = fuse_conv_bn_eval(previous, layer)
            else:
                layers.append(fold_batch_norm(layer))
        return nn.Sequential(*layers)
    for name, child in module.named_children():
        setattr(module, name, fold_batch_norm(child))
    return module


def write_graph(network: Network, path: Path) -> None:
    """Write the network as an ONNX graph over batches of any size."""
    folded = copy.deepcopy(network)
    folded.temperature.fill_(2.0)  # any but 1, at which the exporter would leave the division out
    with quiet():
        torch.onnx.export(
            fold_batch_norm(folded).to(memory_format=torch.contiguous_format).eval(),
            (torch.zeros(2, 28, 28, dtype=torch.uint8),),
            path,
            input_names=["images"],
            output_names=["probabilities", "typicality"],
            dynamic_shapes={"images": {0: torch.export.Dim("N")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    set_temperature(path, temperature_of(network))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to themselves what exporter and quantiser have to say of their own future and of steps that we took."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def run_graph(path: Path, images: NDArray[np.uint8]) -> Scores:
    """Run a graph that is not in a model folder yet."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    class Graph:
        name: Literal["onnxruntime"] = "onnxruntime"
        device = "cpu"

        def __call__(self, images: NDArray[np.uint8]) -> Scores:
            return Scores(*session.run(None, {"images": images}))

    return score_all(Graph(), images)


def check_agreement(network: Network, graph: Path, images: torch.Tensor) -> None:
    """Hold the fp32 graph against torch."""
    probabilities, typicality = predict(network, images)
    scores = run_graph(graph, images.numpy())
    apart = max(
        np.abs(scores.probabilities - probabilities.numpy()).max(), np.abs(scores.typicality - typicality.numpy()).max()
    )
    if not apart <= AGREEMENT:
        raise ExportError(f"the graph and torch differ by {apart:.2g} on {len(images)} digits; {AGREEMENT} is allowed")


class Batches(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    """Training digits, as ONNX Runtime's quantiser asks for them."""

    def __init__(self, images: NDArray[np.uint8], batch: int = 100) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = iter(np.split(images, range(batch, len(images), batch)))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def quantise(graph: Path, training: Digits, checked_on: Digits) -> None:
    """Replace a graph by its int8 form: static, activations u8, weights s8 per channel, ranges from training digits.

    The first convolution stays in fp32: it has one input channel, gains no time from int8 and loses digits by it.
    ``reduce_range`` keeps weights to 7 bits, so that the 16-bit sums of x86 without VNNI cannot saturate and every CPU
    gives the same answer.

    Raises:
        ExportError: it reads too many digits otherwise than the fp32 graph.
    """
    images = checked_on.images.numpy()
    before = run_graph(graph, images).probabilities.argmax(axis=1)
    first = next(node.name for node in onnx.load(graph).graph.node if node.op_type == "Conv")
    with tempfile.TemporaryDirectory() as work, quiet():
        quantised = Path(work) / graph.name
        quantize_static(
            graph,
            quantised,
            Batches(training.images[:2_000].numpy()),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add"],
            nodes_to_exclude=[first],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        graph.write_bytes(quantised.read_bytes())
    same = float((run_graph(graph, images).probabilities.argmax(axis=1) == before).mean())
    if same < SAME_CLASS:
        raise ExportError(
            f"the int8 graph reads {same:.2%} of {len(images)} digits as the fp32 one; {SAME_CLASS:.2%} is asked"
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
