"""A model folder's card: ``MODEL_CARD.md`` and the plots in it, drawn from what the manifest holds.

Runs no network and measures nothing: ``evaluate.py`` has done that. Only the misread digits themselves are looked up
in the data.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from app.inference.model_folder import ModelFolder, Manifest
from training.data.mnist import Digits

mpl.use("Agg")

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#6b7280"
MOST_SHOWN = 48  # misread digits


def write_card(model: ModelFolder, digits: Digits | None) -> Path:
    """Write the card and its plots into the model's folder.

    Args:
        digits: the split that the figures are of, to show the misread ones; without it that plot is left out.
    """
    split, figures = published(model)
    shipped = figures["onnxruntime"] if figures else None
    plots = {"history.png": history(model.manifest.training["runs"])}
    if shipped:
        plots["confusion.png"] = confusion(shipped["confusion"])
        plots["reliability.png"] = reliability(shipped["reliability"], shipped["ece"])
        if digits is not None and shipped["misread"]:
            plots["misread.png"] = misread(shipped["misread"], digits)
    for name, figure in plots.items():
        figure.savefig(model.folder / name, dpi=110, facecolor="white", metadata={"Software": None})
    card = model.folder / "MODEL_CARD.md"
    card.write_text(text(model, split, figures, set(plots)))
    return card


def published(model: ModelFolder) -> tuple[str, dict[str, Any]]:
    """The figures that stand for a model: of the test split once it was read, else of the held-out digits."""
    metrics = model.manifest.metrics
    split = "test" if "test" in metrics else "held_out"
    return split, metrics.get(split, {})


def history(runs: list[dict[str, Any]]) -> Figure:
    """Loss, and share of held-out digits misread, by epoch of each run."""
    figure = Figure((9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, run in enumerate(runs):
        epochs, label = run["history"], f"{run['recipe']['name']}, seed {run['seed']}"
        colour = BLUE if place == 0 else mpl.colormaps["YlOrBr"](0.4 + 0.5 * place / len(runs))
        x = [epoch["epoch"] for epoch in epochs]
        left.plot(x, [epoch["loss"] for epoch in epochs], color=colour, label=label)
        if epochs and epochs[0]["held_out"] is not None:
            right.plot(x, [100 * (1 - epoch["held_out"]) for epoch in epochs], color=colour, label=label)
        else:
            right.plot(x, [100 * (1 - epoch["accuracy"]) for epoch in epochs], color=colour, label=label)
    left.set(title="Loss, mean over each epoch, as augmented", xlabel="epoch", yscale="log")
    held = all(run["history"] and run["history"][0]["held_out"] is not None for run in runs)
    right.set(
        title="Held-out digits misread, %" if held else "Training digits misread, %", xlabel="epoch", yscale="log"
    )
    left.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    return figure


def confusion(matrix: list[list[int]]) -> Figure:
    """What each digit was read as. The diagonal is left white, so that the errors show."""
    counts = np.array(matrix)
    errors = np.where(np.eye(10, dtype=bool), 0, counts)
    figure = Figure((5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(errors.max(), 1) * 1.5)
    for label in range(10):
        for read in range(10):
            if counts[label, read]:
                color = GREY if label == read else "black"
                axes.text(read, label, f"{counts[label, read]}", ha="center", va="center", fontsize=8, color=color)
    axes.set(title="What each digit was read as", xlabel="read as", ylabel="is", xticks=range(10), yticks=range(10))
    return figure


def reliability(bins: list[dict[str, float]], ece: float) -> Figure:
    """Confidence against accuracy, on a scale of doubt: nearly all confidences are close to 1."""
    floor = 1e-5  # of a doubt, so that a bin without an error can be drawn
    figure = Figure((5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([floor, 1], [floor, 1], color=GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    doubt = [max(1 - b["confidence"], floor) for b in bins]
    wrong = [max(1 - b["accuracy"], floor) for b in bins]
    axes.plot(doubt, wrong, "o", color=BLUE, label="an equal share of the digits each")
    axes.set(
        title=f"Doubt and error (calibration error {ece:.2%})",
        xlabel="mean of 1 - confidence",
        ylabel="share misread (none: at the bottom)",
        xscale="log",
        yscale="log",
    )
    axes.legend(frameon=False, loc="upper left")
    axes.grid(alpha=0.25)
    return figure


def misread(cases: list[dict[str, Any]], digits: Digits) -> Figure:
    """The digits that were read wrongly, the surest error first."""
    shown = sorted(cases, key=lambda case: -float(case["confidence"]))[:MOST_SHOWN]
    columns = 12
    rows = -(-len(shown) // columns)
    figure = Figure((columns * 0.85, rows * 1.15), layout="constrained")
    for place, case in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(digits.images[case["index"]].numpy(), cmap="gray_r")
        axes.set_axis_off()
        axes.set_title(f"{case['label']} read {case['read']}\n{case['confidence']:.1%}", fontsize=7)
    return figure


def mean_of_seeds(seeds: dict[str, float]) -> str:
    """Mean and standard deviation of accuracies, by seed, in words."""
    values = np.array(list(seeds.values()))
    spread = f" ± {values.std(ddof=1):.3%}" if len(values) > 1 else ""
    return f"{values.mean():.3%}{spread} over {len(values)} seeds"


def text(model: ModelFolder, split: str, figures: dict[str, Any], plots: set[str]) -> str:
    """Write the card's words."""
    manifest, training = model.manifest, model.manifest.training
    data, runs = training["data"], training["runs"]
    lines = [
        f"# {manifest.id}",
        "",
        f"Reads one handwritten digit. Made {manifest.created[:10]} in {sum(run['seconds'] for run in runs) / 60:.0f} "
        f"minutes of training ({training['machine']}, torch {training['torch']}, commit {training['commit']}).",
        "",
        "| network | architecture | parameters | multiply-adds a picture | graph |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {entry.architecture} | {entry.parameters:,} | {entry.macs / 1e6:.1f} M | {entry.precision} |"
            for name, entry in manifest.networks.items()
        ),
        "",
        *cascade_text(manifest),
        "It takes `uint8 (N, 28, 28)`, light ink on black as MNIST has it, and gives calibrated probabilities of the "
        "ten digits and a typicality score: how surely the picture is of a digit at all.",
        "",
        "## Figures",
        "",
    ]
    names = {"onnxruntime": "ONNX Runtime, what ships", "torch": "torch"}
    if figures:
        count = figures["onnxruntime"]["digits"]
        source = "MNIST's test split" if split == "test" else "the held-out part of MNIST's training split"
        lines += [
            f"On the {count:,} digits of {source}"
            + (", which chose nothing: " if split == "test" else ": ")
            + "recipe, temperature and thresholds were fixed on digits held out of the training split.",
            "",
            "| | " + " | ".join(names[name] for name in figures) + " |",
            "| --- |" + " --- |" * len(figures),
        ]
        rows: dict[str, Callable[[dict[str, Any]], str]] = {
            "accuracy": lambda m: f"{m['accuracy']:.2%} ({m['errors']} misread)",
            "95 % interval": lambda m: f"{m['accuracy_95'][0]:.2%} to {m['accuracy_95'][1]:.2%}",
            "negative log-likelihood": lambda m: f"{m['nll']:.4f}",
            "Brier score": lambda m: f"{m['brier']:.4f}",
            "calibration error": lambda m: f"{m['ece']:.2%} ({m['ece_95'][0]:.2%} to {m['ece_95'][1]:.2%})",
            "area under risk-coverage": lambda m: f"{m['aurc']:.1e}",
            "accepted": lambda m: f"{m['accepted']:.2%}",
            "accuracy of what is accepted": lambda m: f"{m['accuracy_of_accepted']:.2%}",
        }
        if split == "test":
            rows["accuracy without 15 disputed labels"] = lambda m: f"{m['accuracy_undisputed']:.2%}"
        for network in figures["onnxruntime"].get("alone", {}):
            rows[f"accuracy of {network} alone"] = partial(accuracy_alone, network)
        lines += [f"| {label} | " + " | ".join(row(m) for m in figures.values()) + " |" for label, row in rows.items()]
        if seeds := manifest.metrics.get("seeds"):
            lines += [
                "",
                "What the same recipes give with other seeds, each network alone, int8, on the same digits:",
                "",
            ]
            lines += ["| recipe | mean, standard deviation | each seed |", "| --- | --- | --- |"]
            lines += [
                f"| {name} | {mean_of_seeds(of)} | {', '.join(f'{accuracy:.2%}' for accuracy in of.values())} |"
                for name, of in seeds.items()
            ]
        lines += [
            "",
            "By digit, for what ships:",
            "",
            "| digit | precision | recall | F1 | digits |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {c['digit']} | {c['precision']:.2%} | {c['recall']:.2%} | {c['f1']:.2%} | {c['digits']} |"
            for c in figures["onnxruntime"]["classes"]
        ]
    else:
        lines += ["Not measured yet: `python -m training evaluate` does."]
    lines += ["", "## Calibration", ""]
    calibrated = manifest.calibration["onnxruntime"]
    if calibrated.digits:
        lines += [
            f"Fitted on {calibrated.digits:,} held-out digits, for each file on its own: at the thresholds all but one "
            "in two hundred of them are accepted.",
            "",
            "| | temperature | accepted from confidence | and typicality |",
            "| --- | --- | --- | --- |",
        ]
        for engine, c in manifest.calibration.items():
            lines += [
                f"| {network} alone, {names[engine]} | {fitted.temperature:.3f} | {fitted.thresholds.confidence} | "
                f"{fitted.thresholds.typicality} |"
                for network, fitted in c.networks.items()
            ]
            if c.cascade:
                reached = c.cascade.thresholds
                lines.append(f"| cascade, {names[engine]} | | {reached.confidence} | {reached.typicality} |")
    else:
        lines += [
            "None: the recipe trains on every digit of the training split and holds none out. Every answer is accepted."
        ]
    lines += [
        "",
        "## Training",
        "",
        f"Trained on {data['trained_on']:,} digits of MNIST's training split; {data['held_out']:,} were held out.",
        "",
        *recipes_text(runs),
        "## What it is not for",
        "",
        "It knows the ten digits as Americans of the 1990s wrote them, alone in a picture. It does not know "
        "printed type; what is no digit it should refuse (`not_a_digit`), and does not always. Where "
        "a wrong digit is dear, use `accepted`, and let a person read the rest.",
        "",
    ]
    titles = {
        "history.png": "Loss and accuracy by epoch",
        "confusion.png": "Confusion matrix",
        "reliability.png": "Reliability",
        "misread.png": "Misread digits",
    }
    for name, title in titles.items():
        if name in plots:
            lines += [f"## {title}", "", f"![{title}]({name})", ""]
    lines += [
        "## Data",
        "",
        "MNIST, by LeCun, Cortes and Burges, CC BY-SA 3.0. The weights are under this project's licence, Apache-2.0.",
        "",
    ]
    return "\n".join(lines)


def accuracy_alone(network: str, figures: dict[str, Any]) -> str:
    return f"{figures['alone'][network]:.2%}"


def cascade_text(manifest: Manifest) -> list[str]:
    """Say how the two networks of a cascade share the work."""
    cascade = manifest.calibration["onnxruntime"].cascade
    if not cascade:
        return []
    stops = manifest.networks["careful"].first
    return [
        f"The fast network reads every picture, and its answer stands from a confidence of {cascade.gate.confidence} "
        f"and a typicality of {cascade.gate.typicality} on; the careful one reads the rest, "
        f"{cascade.passed_on:.1%} of held-out digits.",
        *(["Where its two lightest members are sure, ONNX Runtime does not run the others."] if stops else []),
        "",
    ]


def recipes_text(runs: list[dict[str, Any]]) -> list[str]:
    """Give each recipe whole, once, with the seeds that it was carried out with."""
    lines = []
    for name in dict.fromkeys(run["recipe"]["name"] for run in runs):
        same = [run for run in runs if run["recipe"]["name"] == name]
        seeds = ", ".join(str(run["seed"]) for run in same)
        lines += [f"Recipe `{name}`, seed {seeds}:", "", "| | |", "| --- | --- |"]
        lines += [f"| {key} | `{value}` |" for key, value in same[0]["recipe"].items()]
        lines.append("")
    return lines
