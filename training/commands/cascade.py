"""``cascade``: combines a fast network and a committee of careful ones into one model."""

import argparse
from pathlib import Path

from training.commands.options import Subparsers, add_command
from training.commands.output import add_output, check_output, parse_version


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "cascade",
        run,
        "Combine a fast network and a committee of careful networks into one model",
        "Each RUN is a model folder of one network, or the folder RUN.training of a run. It can also be a cascade, "
        "which stands for its fast network or for its committee.",
    )
    parser.add_argument("fast", type=Path, metavar="FAST_RUN", help="run of the fast network")
    parser.add_argument(
        "careful", type=Path, nargs="+", metavar="CAREFUL_RUN", help="run of a careful network, or a whole committee"
    )
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export the cascade."""
    output: Path = arguments.output
    check_output(output, arguments.force)

    from training.console import console, print_held_out
    from training.data.populations import load_with_held_out
    from training.export.model_writer import export_cascade
    from training.export.saved_runs import is_cascade, load_careful_runs, load_fast_run, load_run

    fast = load_fast_run(arguments.fast) if is_cascade(arguments.fast) else load_run(arguments.fast)
    careful = load_careful_runs(arguments.careful)
    training, held_out = load_with_held_out(fast.recipe, arguments.data_dir)
    console.print("Exporting both networks: graphs, quantisation, calibration, gate, golden digits…")
    model = export_cascade(fast, careful, training, held_out, output, parse_version(output), arguments.force)
    cascade = model.manifest.calibration["onnxruntime"].cascade
    passed_on = cascade.passed_on if cascade else 0
    console.print(f"Wrote {output}. The careful network reads {passed_on:.2%} of the digits.")
    print_held_out(model.manifest.metrics["held_out"])
    return 0
