"""``ablation``: trains the fast recipe with one ingredient changed, and measures each variant."""

import argparse
from pathlib import Path

from training.commands.options import Subparsers, add_command, add_device
from training.commands.values import whole_number
from training.recipes import ABLATION_BASE, ABLATION_VARIANTS

ABLATION_LOG = Path("docs/ablation.csv")


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "ablation",
        run,
        "Train the fast recipe with one ingredient changed, and measure it on held-out digits",
        "A row that is in the log already is not measured again, so an interrupted study can be continued.",
    )
    parser.add_argument(
        "--variant", choices=ABLATION_VARIANTS, action="append", help="measure only this variant; may be repeated"
    )
    parser.add_argument("--seeds", type=whole_number(1), default=2, help="seeds per variant [default: 2]")
    parser.add_argument(
        "--log", type=Path, default=ABLATION_LOG, help=f"CSV file for the rows [default: {ABLATION_LOG}]"
    )
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train and measure the variants that are not in the log yet."""
    from app.settings import released_model
    from training.console import console
    from training.data.mnist import Digits
    from training.data.populations import load_training, require_held_out
    from training.evaluation.ablation import run_ablation
    from training.recipes import Recipe
    from training.runs import Epoch
    from training.trainer import select_device

    device = select_device(arguments.device)
    held_out = require_held_out(ABLATION_BASE, arguments.data_dir)
    variants = {name: ABLATION_VARIANTS[name] for name in arguments.variant or ABLATION_VARIANTS}

    def print_epoch(name: str, seed: int, epoch: Epoch) -> None:
        console.print(f"{name}, seed {seed}: epoch {epoch.epoch}  held out {epoch.held_out:.2%}  {epoch.seconds:.1f} s")

    def load(recipe: Recipe) -> Digits:
        return load_training(recipe, arguments.data_dir)

    for row in run_ablation(
        load, held_out, variants, arguments.seeds, arguments.log, device, released_model().parent, print_epoch
    ):
        console.print(
            f"{row['variant']}, seed {row['seed']}: {row['mnist_errors']} of MNIST and {row['swiss_errors']} Swiss "
            f"digits misread, NLL {row['mnist_nll']} and {row['swiss_nll']}"
        )
    return 0
