"""``digitserve bulk``: reads any number of pictures on all cores of a Ray cluster, into Parquet files."""

import argparse
import importlib.util
import sys
from pathlib import Path

from app.cli.console import INCOMPLETE, INTERRUPTED, OK, fail, note
from app.cli.parser import Parser, complete_paths
from app.cli.progress import Progress
from app.cli.settings_flags import add_flags, read_settings
from app.errors import UsageError, install_command

DESCRIPTION = """\
Read any number of pictures on all cores of this machine or of a Ray cluster.

An INPUT is a file, a folder, a pattern such as 'scans/*/*.png', a URI such as
s3://bucket/scans (with the credentials of the environment), or Parquet files
with the columns path and bytes. The output is a folder of Parquet files with
the columns path, digit (or text), confidence, accepted, reason and error.

examples:
  %(prog)s scans/ --output digits/
  %(prog)s s3://bucket/scans --output digits/ --ray ray://head:10001
"""


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.usage, parser.description = "%(prog)s [flags] INPUT ... --output FOLDER", DESCRIPTION
    add = parser.add_argument
    complete_paths(add("inputs", nargs="+", metavar="INPUT", help="pictures, or Parquet files with pictures"))
    complete_paths(add("--output", type=Path, required=True, metavar="FOLDER", help="folder for the results"))
    add("--resume", action="store_true", help="continue an interrupted run with the same output, or start it")
    add("--read", action="store_true", help="read a whole number from each picture, like POST /read")
    add("--ray", metavar="ADDRESS", help="address of a Ray cluster, such as auto or ray://host:10001 [this machine]")
    add_flags(parser.add_argument_group("model"), "model", "engine", "device", "cascade", "max_pixels")


def run(arguments: argparse.Namespace) -> int:
    """Read the pictures.

    Returns:
        0 if every picture was read, 1 if not, 130 if interrupted.

    Raises:
        UsageError: The arguments are wrong, or Ray is not installed.
        StartupError: The model cannot be loaded.
        CommandError: The inputs cannot be listed, or the cluster cannot be reached.
    """
    settings = read_settings(arguments)
    if not importlib.util.find_spec("ray"):
        raise UsageError(f"bulk needs Ray: {install_command('ray')}")
    from app.cli.parquet_output import ParquetOutput
    from app.cli.ray_job import connected, list_pictures, read_pictures

    with ParquetOutput(arguments.output, arguments.read, arguments.resume) as output, connected(arguments.ray):
        pictures = list_pictures(arguments.inputs, output.done)
        progress = Progress(pictures.count + output.count, output.count, sys.stderr.isatty())
        progress.show("starting…")
        try:
            for table in read_pictures(pictures, settings, arguments.read):
                output.write(table)
                progress.update(output.count, output.failed)
        except KeyboardInterrupt:
            progress.clear()
            output.close()
            return fail(INTERRUPTED, f"interrupted\n{output.count:,} done; --resume continues")
        progress.clear()
    note(output.summarize(see="; see the column error"))
    note(f"the results are in {arguments.output}")
    return INCOMPLETE if output.failed else OK
