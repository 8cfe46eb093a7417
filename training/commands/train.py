"""``train``: runs a recipe and writes a model folder."""

import argparse
from dataclasses import replace
from pathlib import Path

from training.commands.evaluate import evaluate_and_print
from training.commands.export import export_and_print
from training.commands.model_card import write_card_and_print
from training.commands.options import Subparsers, add_command, add_device, add_seed, select_recipe
from training.commands.output import add_force, check_output
from training.commands.values import whole_number
from training.recipes import RECIPES, Recipe


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(commands, "train", run, "Run a recipe and write a model folder")
    parser.add_argument("--recipe", choices=RECIPES, default="fast", help="recipe [default: fast]")
    parser.add_argument("--output", type=Path, help="model folder to write [default: runs/RECIPE-SEED]")
    add_force(parser)
    add_seed(parser)
    add_device(parser)
    parser.add_argument("--epochs", type=whole_number(1), help="number of epochs [default: the recipe's]")
    parser.add_argument(
        "--teacher",
        type=Path,
        nargs="+",
        default=(),
        metavar="MODEL",
        help="also learn from the mean answer of these finished runs",
    )
    parser.add_argument("--mnist-only", action="store_true", help="leave out the recipe's Swiss digits")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run from its last epoch")
    parser.add_argument("--test", action="store_true", help="then evaluate on the test split and write the model card")


def run(arguments: argparse.Namespace) -> int:
    """Train, export, and with ``--test`` evaluate. An interrupted run keeps its last complete epoch."""
    recipe = select_recipe(arguments)
    if arguments.mnist_only:
        recipe = replace(recipe, swiss=0)
    recipe = replace(recipe, teachers=tuple(folder.name for folder in arguments.teacher))
    output: Path = arguments.output or Path("runs") / f"{recipe.name}-{arguments.seed}"
    check_output(output, arguments.force)

    from training.console import console
    from training.runs import CHECKPOINT, find_interrupted_run

    checkpoint = output.with_name(f"{output.name}.training") / CHECKPOINT
    find_interrupted_run(checkpoint.parent, arguments.resume)
    try:
        train_and_export(recipe, output, checkpoint, arguments)
    except KeyboardInterrupt:
        if checkpoint.exists():
            force = " --force" if output.exists() else ""
            console.print(
                f"\nInterrupted. The last complete epoch is saved in {checkpoint.parent}.\n"
                f"  To continue: repeat the command with --resume\n"
                f"  To use it as it is: python -m training export {checkpoint.parent} --output {output}{force}"
            )
        else:
            console.print("\nInterrupted before the first epoch was complete. Nothing is saved.")
        return 130
    if arguments.test:
        evaluate_and_print(output, arguments.data_dir)
        write_card_and_print(output, arguments.data_dir)
    else:
        console.print(f"Next: python -m training evaluate {output} && python -m training model-card {output}")
    return 0


def train_and_export(recipe: Recipe, output: Path, checkpoint: Path, arguments: argparse.Namespace) -> None:
    """Carry out the recipe with a progress bar, and write the model folder. Then the checkpoint is removed."""
    from training.console import ProgressDisplay, console
    from training.data.populations import load_for_recipe
    from training.export.saved_runs import load_teacher
    from training.runs import remove_checkpoint
    from training.trainer import fit, select_arithmetic, select_device

    device = select_device(arguments.device)
    teacher = load_teacher(arguments.teacher)
    training, held_out = load_for_recipe(recipe, arguments.data_dir)
    console.print(
        f"{recipe.name}, seed {arguments.seed}: {len(training):,} digits, {len(held_out or ()):,} held out, "
        f"{recipe.epochs} epochs in {select_arithmetic(recipe, device)} on {device}"
    )
    with ProgressDisplay() as display:
        display.start_run(recipe, recipe.name)
        trained = fit(
            recipe,
            training,
            held_out.digits if held_out else None,
            seed=arguments.seed,
            device=device,
            checkpoint=checkpoint,
            resume=arguments.resume and checkpoint.exists(),
            teacher=teacher,
            on_step=display.show_step,
            on_epoch=display.show_epoch,
        )
    export_and_print(trained, training, held_out, output, arguments.force)
    remove_checkpoint(checkpoint)
