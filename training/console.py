"""Prints what training shows in a terminal: a progress bar, and tables of figures."""

from typing import Any, Self

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from training.recipes import Recipe
from training.runs import Epoch
from training.trainer import Step

console = Console(highlight=False)


class ProgressDisplay:
    """A progress bar for each run, and one line for each finished epoch."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
        )

    def start_run(self, recipe: Recipe, title: str) -> None:
        """Start the bar of a run."""
        self._recipe = recipe
        self._task = self._progress.add_task(title, total=recipe.epochs, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show_step(self, step: Step) -> None:
        """Move the bar."""
        note = f"loss {step.loss:.4f}  accuracy {step.accuracy:.2%}  {step.images_per_second:,.0f} images/s"
        self._progress.update(self._task, completed=step.epoch - 1 + step.batch / step.batches, note=note)

    def show_epoch(self, epoch: Epoch) -> None:
        """Print the line of an epoch."""
        self._progress.update(self._task, completed=epoch.epoch)
        console.print(format_epoch(epoch, self._recipe.epochs))


def format_epoch(epoch: Epoch, epochs: int) -> str:
    """Return one epoch of ``epochs`` as a line of text."""
    held_out = "" if epoch.held_out is None else f"  held out {epoch.held_out:.2%}"
    return (
        f"epoch {epoch.epoch}/{epochs}  loss {epoch.loss:.4f}  accuracy {epoch.accuracy:.2%}{held_out}"
        f"  {epoch.seconds:.1f} s"
    )


def print_metrics(title: str, metrics: dict[Any, dict[str, Any]]) -> None:
    """Print a table of metrics, one column for each engine."""
    digits = next(iter(metrics.values()))["digits"]
    table = Table("", *metrics, box=SIMPLE, title=f"On {digits:,} {title}", title_justify="left")
    columns = metrics.values()
    table.add_row("accuracy", *(f"{m['accuracy']:.2%} ({m['errors']} misread)" for m in columns))
    table.add_row("95 % interval", *(f"{m['accuracy_95'][0]:.2%} to {m['accuracy_95'][1]:.2%}" for m in columns))
    table.add_row("negative log-likelihood", *(f"{m['nll']:.4f}" for m in columns))
    table.add_row("Brier score", *(f"{m['brier']:.4f}" for m in columns))
    table.add_row("calibration error", *(f"{m['ece']:.2%}" for m in columns))
    table.add_row("accepted", *(f"{m['accepted']:.2%}" for m in columns))
    table.add_row("wrong of those", *(f"{1 - (m['accuracy_of_accepted'] or 1):.2%}" for m in columns))
    console.print(table)


def print_held_out(metrics: dict[str, dict[Any, dict[str, Any]]]) -> None:
    """Print a table of the metrics on each population of held-out digits."""
    for population, results in metrics.items():
        print_metrics(f"held-out digits: {population}", results)


def print_classes(result: dict[str, Any]) -> None:
    """Print precision, recall and F1 of each digit, and the confusion matrix."""
    classes = Table("digit", "precision", "recall", "F1", box=SIMPLE, title="By digit", title_justify="left")
    for row in result["classes"]:
        classes.add_row(str(row["digit"]), *(f"{row[key]:.2%}" for key in ("precision", "recall", "f1")))
    matrix = Table("is \\ read", box=SIMPLE, title="Confusion matrix", title_justify="left")
    for digit in range(10):
        matrix.add_column(str(digit), justify="right")
    for digit, counts in enumerate(result["confusion"]):
        matrix.add_row(str(digit), *(str(count or "") for count in counts))
    console.print(classes, matrix)
