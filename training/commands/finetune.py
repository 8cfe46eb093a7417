"""``finetune``: adapts a model to your own digits."""

import argparse
import re
from dataclasses import replace
from pathlib import Path

from app.errors import python_command
from training.commands.options import Subparsers, add_command, add_seed
from training.commands.output import add_output, check_output, parse_version
from training.commands.values import whole_number
from training.errors import ExportError
from training.recipes import FAST, FINETUNE_EPOCHS


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "finetune",
        run,
        "Adapt a model to your own digits",
        "DIGITS contains one folder per digit, named 0 to 9, with pictures of any size. A fifth of them is held out, "
        "to calibrate and to measure before and after.",
    )
    parser.add_argument("digits", type=Path, metavar="DIGITS", help="folder of your digits")
    parser.add_argument("--init", type=Path, help="model folder to start from [default: the released model]")
    add_output(parser)
    parser.add_argument(
        "--epochs", type=whole_number(1), default=FINETUNE_EPOCHS, help=f"number of epochs [default: {FINETUNE_EPOCHS}]"
    )
    add_seed(parser)
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run from its last epoch")


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune the model, and print its accuracy on your held-out digits before and after."""
    output: Path = arguments.output
    check_output(output, arguments.force)
    from app.inference.model_folder import NAME

    version = parse_version(output)
    name = output.name.removesuffix(f"-{version}")
    if not re.fullmatch(NAME, name):
        raise ExportError(f"--output {output}: a model's name has only the letters a to z, digits, '.', '_' and '-'.")

    from training.console import console
    from training.runs import find_interrupted_run

    checkpoints = output.with_name(f"{output.name}.training")
    find_interrupted_run(checkpoints, arguments.resume)
    try:
        finetune_and_print(arguments, name, version, checkpoints)
    except KeyboardInterrupt:
        if any(checkpoints.glob("*.pt")):
            console.print(
                f"\nInterrupted. What is done is saved in {checkpoints}. To continue, repeat the command with --resume."
            )
        else:
            console.print("\nInterrupted before the first epoch was complete. Nothing is saved.")
        return 130
    return 0


def finetune_and_print(arguments: argparse.Namespace, name: str, version: str, checkpoints: Path) -> None:
    """Fine-tune the model with a progress bar for each of its networks."""
    from app.inference import model_folder
    from app.settings import released_model
    from training.console import ProgressDisplay, console, print_held_out
    from training.data.populations import load_with_held_out
    from training.data.swiss import SCANS
    from training.finetune import finetune, read_folder

    output: Path = arguments.output
    model = model_folder.load(arguments.init or released_model())
    with console.status(f"Reading {arguments.digits}…"):
        own = read_folder(arguments.digits)
    for reason in own.skipped:
        console.print(f"Skipped {reason}")
    console.print(f"{model.manifest.id}, and {len(own.digits):,} digits from {arguments.digits}")
    with console.status("Reading the digits that the model was trained on…"):
        recipe = FAST
        if not (scans := arguments.data_dir / SCANS).is_file():
            console.print(f"{scans} is missing. The model may forget how Swiss digits look.")
            recipe = replace(FAST, swiss=0)
        known, known_held_out = load_with_held_out(recipe, arguments.data_dir)
    with ProgressDisplay() as display:
        new_model = finetune(
            model,
            own.digits,
            known,
            known_held_out,
            output,
            name,
            version,
            epochs=arguments.epochs,
            seed=arguments.seed,
            force=arguments.force,
            checkpoints=checkpoints,
            resume=arguments.resume,
            on_network=lambda number, count, recipe: display.start_run(recipe, f"network {number} of {count}"),
            on_step=display.show_step,
            on_epoch=display.show_epoch,
        )
    metrics = new_model.manifest.metrics["own"]
    console.print(
        f"It reads {metrics['after']:.2%} of your {metrics['digits']} held-out digits correctly; before, "
        f"{metrics['before']:.2%}.\nWrote {output}. Serve it: DIGITS_MODEL={output} {python_command()} -m app serve"
    )
    for network, entry in new_model.manifest.networks.items():
        if entry.precision == "fp32":
            console.print(f"The {network} network stays in fp32: in int8 it would read too many digits differently.")
    print_held_out(new_model.manifest.metrics["held_out"])
