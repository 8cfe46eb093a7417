"""The command line of training: train, cascade, finetune, evaluate, export, reference, robustness,
strangers, optimise, study, report."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE
from rich.table import Table

from app.settings import released_model
from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.errors import ModelFolderError
from training.data import mnist
from training.data.mnist import Digits
from training.console import Display, console, show, show_classes, told
from training.evaluation.metrics import (
    EvaluationError,
    cross_validate,
    evaluate_on_test,
    keep_reference,
    keep_seeds,
    score_all,
)
from training.export.model_folder import export, export_cascade, read_committee, read_fast, read_model
from training.finetune import EPOCHS, finetune, read_folder
from training.export.onnx_graph import ExportError
from training.evaluation.compression import forms
from training.recipes import RECIPES, Recipe
from training.evaluation.model_card import mean_of_seeds, published, write_card
from training.data.corruptions import CORRUPTIONS, corrupted, scikit_digits, usps
from training.data.out_of_distribution import SCORES, STRANGERS, StrangersError, refused
from training.evaluation.ablation import BASE, VARIANTS, study
from training.trainer import Epoch, Run, TrainingError, device_named, discard, fit, load_run

LOG = Path("docs/test-log.csv")
STUDY = Path("docs/study.csv")
CHECKPOINT = "checkpoint.pt"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Make and measure the models that are served."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--data-dir",
        type=Path,
        default=Path(os.environ.get("DIGITS_DATA_DIR", "data")),
        help="folder that has MNIST/raw in it, or will [DIGITS_DATA_DIR, default: data]",
    )
    common.add_argument("--threads", type=int, help="threads of torch [default: one a core]")

    train = commands.add_parser("train", parents=[common], help="carry out a recipe, and write a model folder")
    train.add_argument("--recipe", choices=RECIPES, default="fast")
    train.add_argument("--output", type=Path, help="model folder to write [default: runs/RECIPE-SEED]")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [default: auto]")
    train.add_argument("--epochs", type=int, help="instead of the recipe's own number")
    train.add_argument("--resume", action="store_true", help="go on from the last epoch of an interrupted run")
    train.add_argument("--test", action="store_true", help="then evaluate on the test split, and report")

    evaluate = commands.add_parser(
        "evaluate",
        parents=[common],
        help="measure a finished model on the test split, or a recipe by cross-validation",
        description=f"Each reading of the test split is logged in {LOG}: it is for final figures, and chooses nothing.",
    )
    evaluate.add_argument("models", type=Path, nargs="*", metavar="MODEL", help="model folders")
    evaluate.add_argument(
        "--into", type=Path, metavar="MODEL", help="keep the figures of these, runs with different seeds, in its card"
    )
    evaluate.add_argument("--log", type=Path, default=LOG, help=f"where readings of the test split are logged [{LOG}]")
    evaluate.add_argument(
        "--kfold", type=int, metavar="K", help="train --recipe K times instead, on the training split"
    )
    evaluate.add_argument("--recipe", choices=RECIPES, default="fast", help="with --kfold")
    evaluate.add_argument("--epochs", type=int, help="with --kfold: instead of the recipe's own number")
    evaluate.add_argument("--seed", type=int, default=0, help="with --kfold")
    evaluate.add_argument("--device", default="auto", help="with --kfold")

    again = commands.add_parser(
        "export", parents=[common], help="write a model folder from an interrupted run, or from another model folder"
    )
    again.add_argument("source", type=Path, help="a folder RUN.training, or a model folder")
    again.add_argument("--output", type=Path, required=True, help="model folder to write")
    again.add_argument("--precision", choices=["fp32", "int8"], help="of the graph [default: as the recipe says]")

    cascade = commands.add_parser(
        "cascade",
        parents=[common],
        help="make one model of a fast network and a committee of careful ones",
        description="Each RUN is a model folder of one network, or a folder RUN.training of a run; either "
        "may be a cascade, too, and stands for its fast network or for its committee.",
    )
    cascade.add_argument("fast", type=Path, metavar="FAST_RUN")
    cascade.add_argument("careful", type=Path, nargs="+", metavar="CAREFUL_RUN")
    cascade.add_argument("--output", type=Path, required=True, help="model folder to write")

    finetune = commands.add_parser(
        "finetune",
        parents=[common],
        help="adapt a model to your own digits",
        description="DIGITS has a folder a digit in it, named 0 to 9, with pictures of any size. A fifth of them is "
        "held out: to measure before and after, and to calibrate.",
    )
    finetune.add_argument("digits", type=Path, metavar="DIGITS", help="folder of your digits")
    finetune.add_argument("--init", type=Path, default=released_model(), help="model folder [default: the released]")
    finetune.add_argument("--output", type=Path, required=True, help="model folder to write")
    finetune.add_argument("--epochs", type=int, default=EPOCHS, help=f"passes [{EPOCHS}]")
    finetune.add_argument("--seed", type=int, default=0)

    study = commands.add_parser(
        "study",
        parents=[common],
        help="train the digitnet recipe with one ingredient changed, and measure it on held-out digits",
        description="What is in the log is not trained again: a study can be stopped, and gone on with.",
    )
    study.add_argument("--variant", choices=VARIANTS, action="append", help="only this one; may be repeated")
    study.add_argument("--seeds", type=int, default=2, help="of each variant [default: 2]")
    study.add_argument("--log", type=Path, default=STUDY, help=f"where rows are kept [{STUDY}]")
    study.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [default: auto]")

    reference = commands.add_parser(
        "reference",
        parents=[common],
        help="keep in a model what it makes of its held-out digits, for a running service to compare its own with",
        description="Every export does this; here it is for a folder that was made before. The weights stay as they "
        "are, and the test split is not read.",
    )
    reference.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model folder")

    robustness = commands.add_parser(
        "robustness",
        parents=[common],
        help="measure models on digits from elsewhere, and on held-out digits out of shape",
        description="USPS is read from DATA_DIR/usps/zip.train.gz, and left out if it is not there.",
    )
    robustness.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model folder")

    strangers = commands.add_parser("strangers", parents=[common], help="measure how models refuse what is not a digit")
    strangers.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model folder")

    optimise = commands.add_parser(
        "optimise",
        parents=[common],
        help="measure ways of making a network smaller or faster: folding, int8, pruning",
    )
    optimise.add_argument("run", type=Path, metavar="RUN", help="model folder of one network, or a folder RUN.training")

    report = commands.add_parser("report", parents=[common], help="draw the plots and write MODEL_CARD.md")
    report.add_argument("model", type=Path, help="model folder")
    return parser


def named(recipe: Recipe, epochs: int | None) -> Recipe:
    return replace(recipe, epochs=epochs) if epochs else recipe


def version_of(output: Path) -> str:
    """A folder called NAME-1.2.3 holds version 1.2.3; any other, 0.0.0."""
    found = re.search(r"-(\d+\.\d+\.\d+)$", output.name)
    return found[1] if found else "0.0.0"


def split(recipe: Recipe, data_dir: Path) -> tuple[Digits, Digits | None]:
    """The digits that a recipe trains on, and those that it holds out."""
    digits = mnist.load(data_dir, "train")
    return mnist.hold_out(digits, recipe.hold_out) if recipe.hold_out else (digits, None)


def divided(recipe: Recipe, data_dir: Path) -> tuple[Digits, Digits]:
    """The same, for what cannot do without held-out digits.

    Raises:
        ExportError: the recipe holds none out.
    """
    training, held_out = split(recipe, data_dir)
    if held_out is None:
        raise ExportError(f"recipe {recipe.name} holds no digits out, and this needs some to choose or measure by")
    return training, held_out


def train(arguments: argparse.Namespace) -> int:
    recipe = named(RECIPES[arguments.recipe], arguments.epochs)
    output: Path = arguments.output or Path("runs") / f"{recipe.name}-{arguments.seed}"
    checkpoint = output.with_name(f"{output.name}.training") / CHECKPOINT
    if checkpoint.exists() and not arguments.resume:
        raise TrainingError(
            f"{checkpoint.parent} holds an interrupted run: go on with --resume, or remove it to start anew"
        )
    device = device_named(arguments.device)
    training, held_out = split(recipe, arguments.data_dir)
    console.print(
        f"{recipe.name}, seed {arguments.seed}: {len(training):,} digits, {len(held_out or ()):,} held out, "
        f"{recipe.epochs} epochs on {device}"
    )
    try:
        with Display(recipe) as display:
            run = fit(
                recipe,
                training,
                held_out,
                seed=arguments.seed,
                device=device,
                checkpoint=checkpoint,
                resume=arguments.resume and checkpoint.exists(),
                on_step=display.step,
                on_epoch=display.epoch,
            )
    except KeyboardInterrupt:
        if checkpoint.exists():
            console.print(
                f"\nStopped. The last whole epoch is kept in {checkpoint.parent}.\n"
                f"  go on:          repeat the command with --resume\n"
                f"  use it as it is: python -m training export {checkpoint.parent} --output {output}"
            )
        else:
            console.print("\nStopped before the first epoch was whole: nothing is kept.")
        return 130
    model = finish(run, training, held_out, output)
    discard(checkpoint)
    if arguments.test:
        evaluate_model(model.folder, arguments.data_dir, LOG)
        return report_model(model.folder, arguments.data_dir)
    console.print(f"Next: python -m training evaluate {output} && python -m training report {output}")
    return 0


def finish(run: Run, training: Digits, held_out: Digits | None, output: Path) -> model_folder.ModelFolder:
    console.print("Exporting: graph, quantisation, calibration, golden digits…")
    model = export(run, training, held_out, output, version_of(output))
    console.print(f"Wrote {output}. Serve it: DIGITS_MODEL={output} python -m app serve")
    if held_out:
        show("held-out digits", model.manifest.metrics["held_out"])
    return model


def evaluate_model(folder: Path, data_dir: Path, log: Path) -> None:
    results = evaluate_on_test(folder, mnist.load(data_dir, "test"), log)
    show(f"digits of the test split: {folder}", results)
    show_classes(results["onnxruntime"])
    console.print(f"Logged in {log}, kept in {folder / model_folder.MANIFEST}.")


def report_model(folder: Path, data_dir: Path) -> int:
    model = model_folder.load(folder)
    split_name, figures = published(model)
    digits = None
    if figures:
        if split_name == "test":
            digits = mnist.load(data_dir, "test")
        else:
            _, digits = mnist.hold_out(mnist.load(data_dir, "train"), model.manifest.training["data"]["held_out"])
    console.print(f"Wrote {write_card(model, digits)}.")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    if arguments.kfold:
        return cross(arguments)
    if not arguments.models:
        raise EvaluationError("name a model folder, or --kfold K and a --recipe")
    for model in arguments.models:
        evaluate_model(model, arguments.data_dir, arguments.log)
    if arguments.into:
        for recipe, seeds in keep_seeds(arguments.into, arguments.models).items():
            console.print(f"{recipe}: {mean_of_seeds(seeds)}. Kept in {arguments.into / model_folder.MANIFEST}.")
    return 0


def cross(arguments: argparse.Namespace) -> int:
    recipe = named(RECIPES[arguments.recipe], arguments.epochs)
    digits = mnist.load(arguments.data_dir, "train")

    def on_fold(fold: int, result: dict[str, Any]) -> None:
        console.print(f"fold {fold}/{arguments.kfold}  accuracy {result['accuracy']:.2%}  ({result['errors']} misread)")

    device = device_named(arguments.device)
    result = cross_validate(recipe, digits, arguments.kfold, arguments.seed, device, on_fold)
    output = Path("runs") / f"kfold-{recipe.name}-{arguments.seed}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    console.print(
        f"{recipe.name}: {result['accuracy_mean']:.3%} ± {result['accuracy_std']:.3%} over {arguments.kfold} folds. "
        f"Wrote {output}."
    )
    return 0


def run_in(source: Path) -> Run:
    """The run that a folder holds, be it one of an interrupted training or of a model."""
    return load_run(source / CHECKPOINT) if (source / CHECKPOINT).is_file() else read_model(source)


def holds_cascade(source: Path) -> bool:
    return not (source / CHECKPOINT).is_file() and model_folder.load(source).manifest.cascades


def cascade(arguments: argparse.Namespace) -> int:
    fast = read_fast(arguments.fast) if holds_cascade(arguments.fast) else run_in(arguments.fast)
    careful: list[Run] = []
    for folder in arguments.careful:
        careful += read_committee(folder) if holds_cascade(folder) else [run_in(folder)]
    training, held_out = divided(fast.recipe, arguments.data_dir)
    output: Path = arguments.output
    console.print("Exporting both networks: graphs, quantisation, calibration, gate, golden digits…")
    model = export_cascade(fast, careful, training, held_out, output, version_of(output))
    fitted = model.manifest.calibration["onnxruntime"].cascade
    console.print(f"Wrote {output}. The careful network reads {fitted.passed_on if fitted else 0:.2%} of the digits.")
    show("held-out digits", model.manifest.metrics["held_out"])
    return 0


def adapt(arguments: argparse.Namespace) -> int:
    model, own = model_folder.load(arguments.init), read_folder(arguments.digits)
    mnist = divided(BASE, arguments.data_dir)
    output: Path = arguments.output
    console.print(f"{model.manifest.id}, and {len(own):,} digits of {arguments.digits}")

    def on_epoch(network: str, epoch: Epoch) -> None:
        console.print(f"{network}: {told(epoch, arguments.epochs)}")

    made = finetune(
        model,
        own,
        mnist,
        output,
        output.name.removesuffix(f"-{version_of(output)}"),
        version_of(output),
        epochs=arguments.epochs,
        seed=arguments.seed,
        on_epoch=on_epoch,
    )
    figures = made.manifest.metrics["own"]
    console.print(
        f"Of {figures['digits']} held-out digits of yours it reads {figures['after']:.2%} rightly; before, "
        f"{figures['before']:.2%}.\nWrote {output}. Serve it: DIGITS_MODEL={output} python -m app serve"
    )
    for network, entry in made.manifest.networks.items():
        if entry.precision == "fp32":
            console.print(f"The {network} network stays in fp32: int8 would read too many digits otherwise.")
    show("held-out digits, yours and MNIST's", made.manifest.metrics["held_out"])
    return 0


def export_again(arguments: argparse.Namespace) -> int:
    run = run_in(arguments.source)
    if arguments.precision:
        run.recipe = replace(run.recipe, precision=arguments.precision)
    training, held_out = split(run.recipe, arguments.data_dir)
    finish(run, training, held_out, arguments.output)
    return 0


def study_variants(arguments: argparse.Namespace) -> int:
    training, held_out = divided(BASE, arguments.data_dir)
    variants = {name: VARIANTS[name] for name in arguments.variant or VARIANTS}

    def on_epoch(name: str, seed: int, epoch: Epoch) -> None:
        console.print(f"{name}, seed {seed}: epoch {epoch.epoch}  held out {epoch.held_out:.2%}  {epoch.seconds:.1f} s")

    device = device_named(arguments.device)
    for row in study(training, held_out, variants, arguments.seeds, arguments.log, device, on_epoch):
        console.print(f"{row['variant']}, seed {row['seed']}: {row['errors']} misread, NLL {row['nll']}")
    return 0


def add_reference(arguments: argparse.Namespace) -> int:
    for folder in arguments.models:
        manifest = model_folder.load(folder).manifest
        count = manifest.training["data"]["held_out"]
        if not count:
            raise EvaluationError(f"{folder} was trained on every digit of the training split: none was held out")
        if "own" in manifest.metrics:
            raise EvaluationError(f"{folder} was adapted to digits that are not here: its export has done this")
        _, held_out = mnist.hold_out(mnist.load(arguments.data_dir, "train"), count)
        kept = keep_reference(folder, held_out)
        console.print(f"Of {kept.digits:,} held-out digits. Kept in {folder / model_folder.MANIFEST}.")
    return 0


def measure_robustness(arguments: argparse.Namespace) -> int:
    _, held_out = divided(BASE, arguments.data_dir)
    sets = {"held out, as they are": held_out, "scikit-learn's": scikit_digits()}
    try:
        sets["USPS"] = usps(arguments.data_dir)
    except mnist.DataError as error:
        console.print(f"Left out: {error}")
    sets |= {name: corrupted(held_out, name) for name in CORRUPTIONS}
    engines = [
        open_engine(model_folder.load(folder), "onnxruntime", "cpu", torch.get_num_threads()) for folder in arguments.models
    ]
    table = Table("digits", *(folder.name for folder in arguments.models), box=SIMPLE)
    means = np.zeros(len(engines))
    for name, digits in sets.items():
        labels = digits.labels.numpy()
        read = [score_all(engine, digits.images.numpy()).probabilities.argmax(axis=1) for engine in engines]
        accuracies = [float((found == labels).mean()) for found in read]
        table.add_row(name, *(f"{accuracy:.2%}" for accuracy in accuracies))
        if name in CORRUPTIONS:
            means += np.array(accuracies) / len(CORRUPTIONS)
    table.add_row("mean of the corruptions", *(f"{mean:.2%}" for mean in means))
    console.print(table)
    return 0


def measure_strangers(arguments: argparse.Namespace) -> int:
    _, held_out = divided(BASE, arguments.data_dir)
    pictures = {name: make() for name, make in STRANGERS.items()}
    for folder in arguments.models:
        columns = [f"{score}: {figure}" for figure in ("AUROC", "accepted") for score in SCORES]
        title = f"{folder.name}; the last columns are at the threshold that 99.5 % of digits reach by that score alone"
        table = Table("not digits", "accepted as it ships", *columns, box=SIMPLE, title=title, title_justify="left")
        for name, row in refused(model_folder.load(folder), held_out, pictures).items():
            table.add_row(
                name,
                f"{row['accepted']:.2%}",
                *(f"{row['auroc'][score]:.4f}" for score in SCORES),
                *(f"{row['false_accepts'][score]:.2%}" for score in SCORES),
            )
        console.print(table)
    return 0


def measure_forms(arguments: argparse.Namespace) -> int:
    run = run_in(arguments.run)
    training, held_out = divided(run.recipe, arguments.data_dir)
    table = Table("form", "misread", "KB", "µs for one", "µs each of 64", box=SIMPLE)
    for form in forms(run.network.eval(), training, held_out):
        row = (str(form.errors), f"{form.bytes / 1e3:.0f}", f"{form.one:.0f}", f"{form.many:.0f}")
        table.add_row(form.name, *row)
    console.print(f"{run.recipe.name}, seed {run.seed}, on {len(held_out):,} held-out digits, one thread")
    console.print(table)
    return 0


def main(values: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(values)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "train": train,
        "evaluate": evaluate,
        "cascade": cascade,
        "export": export_again,
        "reference": add_reference,
        "finetune": adapt,
        "robustness": measure_robustness,
        "strangers": measure_strangers,
        "optimise": measure_forms,
        "study": study_variants,
        "report": lambda given: report_model(given.model, given.data_dir),
    }
    try:
        return commands[arguments.command](arguments)
    except (
        TrainingError,
        EvaluationError,
        ExportError,
        mnist.DataError,
        ModelFolderError,
        FileExistsError,
        StrangersError,
    ) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
