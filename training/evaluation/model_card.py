"""Writes a model folder's card, ``MODEL_CARD.md``, and its plots, from the manifest.

This runs no network and measures nothing. It needs digits only to show the misread ones.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.inference.model_folder import Manifest, ModelFolder
from training.data.mnist import Digits
from training.evaluation.plots import plot_confusion, plot_history, plot_misread, plot_reliability

ENGINE_TITLES = {"onnxruntime": "ONNX Runtime, as shipped", "torch": "torch"}
PLOT_TITLES = {
    "history.png": "Loss and accuracy by epoch",
    "confusion.png": "Confusion matrix",
    "reliability.png": "Reliability",
    "misread.png": "Misread digits",
}


def write_card(model: ModelFolder, digits: Digits | None) -> Path:
    """Write the card and its plots into the model's folder.

    Args:
        digits: The split that the metrics are of, to show the misread digits. Without it, that plot is left out.
    """
    split, metrics = select_metrics(model)
    shipped = metrics["onnxruntime"] if metrics else None
    plots = {"history.png": plot_history(model.manifest.training["runs"])}
    if shipped:
        plots["confusion.png"] = plot_confusion(shipped["confusion"])
        plots["reliability.png"] = plot_reliability(shipped["reliability"], shipped["ece"])
        if digits is not None and shipped["misread"]:
            plots["misread.png"] = plot_misread(shipped["misread"], digits)
    for name, figure in plots.items():
        figure.savefig(model.folder / name, dpi=110, facecolor="white", metadata={"Software": None})
    card = model.folder / "MODEL_CARD.md"
    card.write_text(render_card(model.manifest, split, metrics, set(plots)))
    return card


def select_metrics(model: ModelFolder) -> tuple[str, dict[str, Any]]:
    """Return the metrics to publish and their split: the test split if it was read, otherwise the held-out digits."""
    metrics = model.manifest.metrics
    split = "test" if "test" in metrics else "held_out"
    return split, metrics.get(split, {})


def render_card(manifest: Manifest, split: str, metrics: dict[str, Any], plots: set[str]) -> str:
    """Return the text of the card."""
    data, runs = manifest.training["data"], manifest.training["runs"]
    lines = [
        *render_introduction(manifest),
        "## Figures",
        "",
        *(render_metrics(manifest, split, metrics) if metrics else ["None yet. Run `python -m training evaluate`."]),
        "",
        "## Calibration",
        "",
        *render_calibration(manifest),
        "",
        "## Training",
        "",
        f"Trained on {data['trained_on']:,} digits of MNIST's training split; {data['held_out']:,} were held out.",
        "",
        *render_recipes(runs),
        "## What it is not for",
        "",
        "The model knows the ten digits as Americans wrote them in the 1990s, one digit per picture. It does not know "
        "printed type. It should refuse what is not a digit (`not_a_digit`), but does not always do so. If a wrong "
        "digit is costly, use `accepted`, and let a person read the rest.",
        "",
    ]
    for name, title in PLOT_TITLES.items():
        if name in plots:
            lines += [f"## {title}", "", f"![{title}]({name})", ""]
    lines += [
        "## Data",
        "",
        "MNIST, by LeCun, Cortes and Burges, CC BY-SA 3.0. The weights are under this project's licence, Apache-2.0.",
        "",
    ]
    return "\n".join(lines)


def render_introduction(manifest: Manifest) -> list[str]:
    """Say what the model is, and list its networks."""
    training = manifest.training
    return [
        f"# {manifest.id}",
        "",
        f"Reads one handwritten digit. Made on {manifest.created[:10]} in "
        f"{sum(run['seconds'] for run in training['runs']) / 60:.0f} minutes of training ({training['machine']}, "
        f"torch {training['torch']}, commit {training['commit']}).",
        "",
        "| network | architecture | parameters | multiply-adds per picture | graph |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {entry.architecture} | {entry.parameters:,} | {entry.macs / 1e6:.1f} M | {entry.precision} |"
            for name, entry in manifest.networks.items()
        ),
        "",
        *render_cascade(manifest),
        "Input is `uint8 (N, 28, 28)`, light ink on black as in MNIST. Output is the calibrated probabilities of the "
        "ten digits, and a typicality score: how surely the picture shows a digit at all.",
        "",
    ]


def render_cascade(manifest: Manifest) -> list[str]:
    """Say how the two networks of a cascade share the work."""
    cascade = manifest.calibration["onnxruntime"].cascade
    if not cascade:
        return []
    exits_early = manifest.networks["careful"].first
    return [
        f"The fast network reads every picture. Its answer counts if its confidence is at least "
        f"{cascade.gate.confidence} and its typicality at least {cascade.gate.typicality}. The careful network reads "
        f"the other pictures, {cascade.passed_on:.1%} of held-out digits.",
        *(["If its two lightest members are sure, ONNX Runtime does not run the others."] if exits_early else []),
        "",
    ]


def render_metrics(manifest: Manifest, split: str, metrics: dict[str, Any]) -> list[str]:
    """Tabulate the metrics of each engine, of the same recipes with other seeds, and of each digit."""
    count = metrics["onnxruntime"]["digits"]
    source = (
        "MNIST's test split ([the one time that it decided](../../docs/training.md))"
        if split == "test"
        else "the held-out part of MNIST's training split"
    )
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "accuracy": lambda m: f"{m['accuracy']:.2%} ({m['errors']} misread)",
        "95 % interval": lambda m: f"{m['accuracy_95'][0]:.2%} to {m['accuracy_95'][1]:.2%}",
        "negative log-likelihood": lambda m: f"{m['nll']:.4f}",
        "Brier score": lambda m: f"{m['brier']:.4f}",
        "calibration error": lambda m: f"{m['ece']:.2%} ({m['ece_95'][0]:.2%} to {m['ece_95'][1]:.2%})",
        "area under risk-coverage": lambda m: f"{m['aurc']:.1e}",
        "accepted": lambda m: f"{m['accepted']:.2%}",
        "accuracy of accepted digits": lambda m: f"{m['accuracy_of_accepted']:.2%}",
    }
    for network in metrics["onnxruntime"].get("alone", {}):
        rows[f"accuracy of {network} alone"] = partial(format_accuracy_alone, network)
    lines = [
        f"On the {count:,} digits of {source}. Recipe, temperature and thresholds were set on digits held out of the "
        "training split.",
        "",
        "| | " + " | ".join(ENGINE_TITLES[name] for name in metrics) + " |",
        "| --- |" + " --- |" * len(metrics),
        *(f"| {label} | " + " | ".join(row(m) for m in metrics.values()) + " |" for label, row in rows.items()),
    ]
    if seeds := manifest.metrics.get("seeds"):
        lines += [
            "",
            "The same recipes with other seeds. Each network is measured alone, in int8, on the same digits:",
            "",
            "| recipe | mean, standard deviation | each seed |",
            "| --- | --- | --- |",
            *(
                f"| {name} | {format_mean(accuracies)} | "
                f"{', '.join(f'{accuracy:.2%}' for accuracy in accuracies.values())} |"
                for name, accuracies in seeds.items()
            ),
        ]
    return [
        *lines,
        "",
        "By digit, as shipped:",
        "",
        "| digit | precision | recall | F1 | digits |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {c['digit']} | {c['precision']:.2%} | {c['recall']:.2%} | {c['f1']:.2%} | {c['digits']} |"
            for c in metrics["onnxruntime"]["classes"]
        ),
    ]


def render_calibration(manifest: Manifest) -> list[str]:
    """Tabulate temperatures and thresholds."""
    digits = manifest.calibration["onnxruntime"].digits
    if not digits:
        return [
            "None. The recipe trains on every digit of the training split and holds none out. So every answer is "
            "accepted."
        ]
    lines = [
        f"Fitted on {digits:,} held-out digits, separately for each file. The thresholds accept all but one in two "
        "hundred of these digits.",
        "",
        "| | temperature | confidence threshold | typicality threshold |",
        "| --- | --- | --- | --- |",
    ]
    for engine, calibration in manifest.calibration.items():
        lines += [
            f"| {network} alone, {ENGINE_TITLES[engine]} | {fitted.temperature:.3f} | {fitted.thresholds.confidence} | "
            f"{fitted.thresholds.typicality} |"
            for network, fitted in calibration.networks.items()
        ]
        if calibration.cascade:
            thresholds = calibration.cascade.thresholds
            lines.append(f"| cascade, {ENGINE_TITLES[engine]} | | {thresholds.confidence} | {thresholds.typicality} |")
    return lines


def render_recipes(runs: list[dict[str, Any]]) -> list[str]:
    """Tabulate each recipe once, with the seeds that it was run with."""
    lines = []
    for name in dict.fromkeys(run["recipe"]["name"] for run in runs):
        same = [run for run in runs if run["recipe"]["name"] == name]
        seeds = ", ".join(str(run["seed"]) for run in same)
        lines += [f"Recipe `{name}`, seed {seeds}:", "", "| | |", "| --- | --- |"]
        lines += [f"| {key} | `{value}` |" for key, value in same[0]["recipe"].items()]
        lines.append("")
    return lines


def format_mean(accuracies: dict[str, float]) -> str:
    """Return mean and standard deviation of accuracies by seed, as text."""
    values = np.array(list(accuracies.values()))
    spread = f" ± {values.std(ddof=1):.3%}" if len(values) > 1 else ""
    return f"{values.mean():.3%}{spread} over {len(values)} seeds"


def format_accuracy_alone(network: str, metrics: dict[str, Any]) -> str:
    """Return the accuracy of one network of a cascade, as text."""
    return f"{metrics['alone'][network]:.2%}"
