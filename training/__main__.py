"""The command line of training: ``python -m training COMMAND``."""

import argparse
import signal
import sys
from collections.abc import Sequence

from app.errors import ModelFolderError, install_command
from training.commands import (
    ablation,
    cascade,
    compression,
    evaluate,
    export,
    finetune,
    label_errors,
    model_card,
    out_of_distribution,
    robustness,
    seeds,
    train,
)
from training.errors import TrainingError

COMMANDS = (
    train,
    cascade,
    finetune,
    label_errors,
    evaluate,
    export,
    robustness,
    seeds,
    out_of_distribution,
    compression,
    ablation,
    model_card,
)


def main(values: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    try:
        return parse_and_run(values)
    except (TrainingError, ModelFolderError) as error:
        return fail(str(error), 1)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("app", "training"):  # a fault of ours
            raise
        command = install_command("torch,train")
        return fail(f"this needs the package {package}. Install what training needs: {command}", 1)
    except KeyboardInterrupt:
        return fail("interrupted", 128 + signal.SIGINT)


def parse_and_run(values: Sequence[str] | None) -> int:
    """Run a command and return its exit status, or let its errors pass."""
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
    status: int = arguments.handler(arguments)
    return status


def fail(message: str, status: int) -> int:
    """Print one line to standard error, and return the exit status."""
    print(f"training: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
