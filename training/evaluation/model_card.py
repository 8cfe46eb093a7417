"""Writes a model folder's card, ``MODEL_CARD.md``, and its plots, from the manifest.

This runs no network and measures nothing. It needs digits only to show the misread ones.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.inference.model_folder import Manifest, ModelFolder
from training.data.mnist import Digits
from training.evaluation.plots import plot_confusion, plot_history, plot_misread, plot_reliability
from training.evaluation.seeds import Accuracies

ENGINE_TITLES = {"onnxruntime": "ONNX Runtime, as shipped", "torch": "torch"}
NOT_TESTED = "MNIST's test split was not read yet: `python -m training evaluate` does it."
MEASURED_AGAIN = (
    " These figures were measured again later. The service now prepares pictures in another way, and finds the "
    "digit in others of them."
)
POPULATION_TITLES = {"mnist": "MNIST", "swiss": "Swiss writers", "own": "your own"}
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
    metrics = select_metrics(model.manifest)
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
    card.write_text(render_card(model.manifest, set(plots)), encoding="utf-8")
    return card


def select_metrics(manifest: Manifest) -> dict[str, Any]:
    """Return the metrics to plot: on the test split if it was read, otherwise on MNIST's held-out digits, if any."""
    found: dict[str, Any] = manifest.metrics.get("test") or manifest.metrics.get("held_out", {}).get("mnist", {})
    return found


def render_card(manifest: Manifest, plots: set[str]) -> str:
    """Return the text of the card."""
    metrics, runs = manifest.metrics, manifest.training["runs"]
    calibrated_on = manifest.training["data"]["held_out"]
    has_swiss = "swiss" in calibrated_on
    lines = [
        *render_introduction(manifest),
        "## Figures",
        "",
        *(render_held_out(metrics["held_out"], calibrated_on) if "held_out" in metrics else []),
        *(render_seeds(metrics["seeds"]) if "seeds" in metrics else []),
        *(render_test(metrics["test"]) if "test" in metrics else [NOT_TESTED]),
        "",
        "## Calibration",
        "",
        *render_calibration(manifest),
        "",
        "## Training",
        "",
        *render_data(manifest.training["data"]),
        "",
        *render_recipes(runs),
        "## What it is not for",
        "",
        f"The model learnt from digits by Americans of the 1990s{' and by nine Swiss writers' * has_swiss}, one digit "
        "per picture. It does not know printed type. It refuses most pictures that show no digit (`not_a_digit`), but "
        "not all. If a wrong digit is costly, use `accepted`, and let a person read the rest.",
        "",
    ]
    for name, title in PLOT_TITLES.items():
        if name in plots:
            lines += [f"## {title}", "", f"![{title}]({name})", ""]
    lines += [
        "## Data",
        "",
        "MNIST, by LeCun, Cortes and Burges, CC BY-SA 3.0."
        + " The collection kensanata/numbers: scans of Swiss handwriting, CC0 1.0." * has_swiss
        + " The weights are under this project's licence, Apache-2.0.",
        "",
    ]
    return "\n".join(lines)


def describe_devices(training: dict[str, Any]) -> str:
    """Name the devices that the runs were trained on. Models up to digitnet-1.5.0 do not record them."""
    devices = dict.fromkeys(device for run in training["runs"] for device in run.get("devices", ()))
    return " and ".join(devices) or "a CPU"


def render_introduction(manifest: Manifest) -> list[str]:
    """Say what the model is, and list its networks."""
    training = manifest.training
    minutes = sum(run["seconds"] for run in training["runs"]) / 60
    return [
        f"# {manifest.id}",
        "",
        f"Reads one handwritten digit. Made on {manifest.created[:10]} in {minutes:.0f} minutes of training on "
        f"{describe_devices(training)} (exported on {training['machine']}, torch {training['torch']}, "
        f"commit {training['commit']}).",
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


FIGURES: dict[str, Callable[[dict[str, Any]], str]] = {
    "accuracy": lambda m: f"{m['accuracy']:.2%} ({m['errors']} misread)",
    "95 % interval": lambda m: f"{m['accuracy_95'][0]:.2%} to {m['accuracy_95'][1]:.2%}",
    "negative log-likelihood": lambda m: f"{m['nll']:.4f}",
    "Brier score": lambda m: f"{m['brier']:.4f}",
    "calibration error": lambda m: f"{m['ece']:.2%} ({m['ece_95'][0]:.2%} to {m['ece_95'][1]:.2%})",
    "area under risk-coverage": lambda m: f"{m['aurc']:.1e}",
    "accepted": lambda m: f"{m['accepted']:.2%}",
    "wrong of the accepted": lambda m: f"{1 - m['accuracy_of_accepted']:.2%}",
}


def tabulate(columns: Mapping[str, dict[str, Any]]) -> list[str]:
    """Tabulate metrics, with one column for each title."""
    rows = dict(FIGURES)
    for network in next(iter(columns.values())).get("alone", {}):
        rows[f"accuracy of {network} alone"] = partial(format_accuracy_alone, network)
    return [
        "| | " + " | ".join(columns) + " |",
        "| --- |" + " --- |" * len(columns),
        *(f"| {label} | " + " | ".join(row(m) for m in columns.values()) + " |" for label, row in rows.items()),
        "",
    ]


def render_held_out(metrics: dict[str, Any], calibrated_on: Mapping[str, int]) -> list[str]:
    """Tabulate the metrics on each population of held-out digits, as shipped.

    Args:
        calibrated_on: The digits of each population with which the model was calibrated.
    """
    measured = {name: results["onnxruntime"]["digits"] for name, results in metrics.items()}
    columns = {POPULATION_TITLES.get(name, name): results["onnxruntime"] for name, results in metrics.items()}
    return [
        "As shipped, on digits that the model was not trained on. It was chosen and calibrated with those that "
        "[Training](#training) names as held out." + ("" if measured == calibrated_on else MEASURED_AGAIN),
        "",
        *tabulate({f"{title}, {m['digits']:,} digits": m for title, m in columns.items()}),
    ]


def render_seeds(seeds: Accuracies) -> list[str]:
    """Tabulate the accuracies of the recipes with other seeds."""
    return [
        "The same recipes with other seeds. Each network reads the held-out digits alone, as it would ship:",
        "",
        "| recipe | digits | mean, standard deviation | each seed |",
        "| --- | --- | --- | --- |",
        *(
            f"| {recipe} | {POPULATION_TITLES.get(population, population)} | {format_mean(accuracies)} | "
            f"{', '.join(f'{accuracy:.2%}' for accuracy in accuracies.values())} |"
            for recipe, populations in seeds.items()
            for population, accuracies in populations.items()
        ),
        "",
    ]


def render_test(metrics: dict[str, Any]) -> list[str]:
    """Tabulate the metrics of each engine on the test split, and those of each digit."""
    shipped = metrics["onnxruntime"]
    return [
        f"On the {shipped['digits']:,} digits of MNIST's test split "
        "([how a release is chosen](../../docs/training.md)).",
        "",
        *tabulate({ENGINE_TITLES[name]: m for name, m in metrics.items()}),
        "By digit, as shipped:",
        "",
        "| digit | precision | recall | F1 | digits |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {c['digit']} | {c['precision']:.2%} | {c['recall']:.2%} | {c['f1']:.2%} | {c['digits']} |"
            for c in shipped["classes"]
        ),
    ]


def render_data(data: dict[str, Any]) -> list[str]:
    """Say which digits the model was trained on, and which were held out."""
    parts = [f"{count:,} of {POPULATION_TITLES.get(name, name)}" for name, count in data["held_out"].items()]
    held_out = ", ".join(parts)
    return [f"Trained on {data['trained_on']:,} digits per epoch. Held out: {held_out or 'none'}."]


def render_calibration(manifest: Manifest) -> list[str]:
    """Tabulate temperatures and thresholds."""
    digits = manifest.calibration["onnxruntime"].digits
    if not digits:
        return [
            "None. The recipe trains on every digit of the training split and holds none out. So every answer is "
            "accepted."
        ]
    lines = [
        f"Fitted on {digits:,} held-out digits, separately for each file. Each population counts the same, and the "
        "thresholds hold on each.",
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
