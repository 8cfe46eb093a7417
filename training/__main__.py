"""The command line of training: ``python -m training COMMAND``."""

import argparse
import sys
from collections.abc import Sequence

from app.errors import ModelFolderError
from training.commands import (
    ablation,
    cascade,
    compression,
    evaluate,
    export,
    finetune,
    model_card,
    out_of_distribution,
    reference,
    robustness,
    train,
)
from training.errors import TrainingError

COMMANDS = (
    train,
    cascade,
    finetune,
    evaluate,
    export,
    reference,
    robustness,
    out_of_distribution,
    compression,
    ablation,
    model_card,
)


def main(values: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train, export and measure the models that the service serves."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    arguments = parser.parse_args(values)
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)
    try:
        status: int = arguments.handler(arguments)
    except (TrainingError, ModelFolderError, FileExistsError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
