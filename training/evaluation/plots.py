"""Draws the plots of a model card, from the numbers in the manifest."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from training.data.mnist import Digits

mpl.use("Agg")

BLUE, GREY = "#2563eb", "#6b7280"
MAX_MISREAD_SHOWN = 48
MISREAD_COLUMNS = 12


def plot_history(runs: list[dict[str, Any]]) -> Figure:
    """Plot loss and the share of misread held-out digits, by epoch of each run."""
    figure = Figure((9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for index, run in enumerate(runs):
        epochs, label = run["history"], f"{run['recipe']['name']}, seed {run['seed']}"
        colour = BLUE if index == 0 else mpl.colormaps["YlOrBr"](0.4 + 0.5 * index / len(runs))
        x = [epoch["epoch"] for epoch in epochs]
        left.plot(x, [epoch["loss"] for epoch in epochs], color=colour, label=label)
        if epochs and epochs[0]["held_out"] is not None:
            right.plot(x, [100 * (1 - epoch["held_out"]) for epoch in epochs], color=colour, label=label)
        else:
            right.plot(x, [100 * (1 - epoch["accuracy"]) for epoch in epochs], color=colour, label=label)
    left.set(title="Mean loss per epoch, on augmented digits", xlabel="epoch", yscale="log")
    has_held_out = all(run["history"] and run["history"][0]["held_out"] is not None for run in runs)
    right.set(
        title="Held-out digits misread, %" if has_held_out else "Training digits misread, %",
        xlabel="epoch",
        yscale="log",
    )
    left.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    return figure


def plot_confusion(matrix: list[list[int]]) -> Figure:
    """Plot what each digit was read as. The diagonal stays white, so that the errors stand out."""
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


def plot_reliability(bins: list[dict[str, float]], ece: float) -> Figure:
    """Plot the error rate against 1 - confidence, on log scales because nearly all confidences are close to 1."""
    floor = 1e-5  # log scales have no 0: a bin without an error is drawn here
    figure = Figure((5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([floor, 1], [floor, 1], color=GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    doubt = [max(1 - b["confidence"], floor) for b in bins]
    wrong = [max(1 - b["accuracy"], floor) for b in bins]
    axes.plot(doubt, wrong, "o", color=BLUE, label="bins with the same number of digits")
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


def plot_misread(cases: list[dict[str, Any]], digits: Digits) -> Figure:
    """Show the misread digits, the one with the highest confidence first."""
    shown = sorted(cases, key=lambda case: -float(case["confidence"]))[:MAX_MISREAD_SHOWN]
    rows = -(-len(shown) // MISREAD_COLUMNS)
    figure = Figure((MISREAD_COLUMNS * 0.85, rows * 1.15), layout="constrained")
    for position, case in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, MISREAD_COLUMNS, position)
        axes.imshow(digits.images[case["index"]].numpy(), cmap="gray_r")
        axes.set_axis_off()
        axes.set_title(f"{case['label']} read {case['read']}\n{case['confidence']:.1%}", fontsize=7)
    return figure
