"""The parser of the command line. It imports a command only when that command is used."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

import app
from app.cli.console import EXIT_STATUS, WRONG_USAGE, fail

# Each is a module of this package, with a function ``add_arguments`` and a function ``run``.
COMMANDS = {
    "serve": "run the service",
    "predict": "read image files, locally or with a running service",
    "bulk": "read any number of pictures with Ray, into Parquet files",
    "bench": "measure a running service",
    "info": "print the model and the settings in use",
    "completion": "print a script with which a shell completes commands, flags and file names",
}
PATHS = {"bash": "_shtab_compgen_files", "zsh": "_files", "fish": "(__fish_complete_path (commandline -ct))"}


class Parser(argparse.ArgumentParser):
    """A parser that gets its arguments when it is used, and whose errors are one line.

    Args:
        load: Adds the arguments and the description.
    """

    def __init__(self, *args: Any, load: Callable[["Parser"], None] = lambda parser: None, **kwargs: Any) -> None:
        kwargs |= {"epilog": EXIT_STATUS, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(*args, **kwargs)
        self._load: Callable[[Parser], None] | None = load

    def load(self) -> None:
        """Add the arguments if they are not there yet."""
        load, self._load = self._load, None
        if load:
            load(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse, and report an unknown argument here: this parser knows which names are similar."""
        self.load()
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            self.error(f"unknown argument {name}{suggest(name, re.findall(r'--[a-z-]+', self.format_help()))}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Print the error and the command that helps, and end the process."""
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            message += suggest(choice[1], re.findall(r"[\w-]+", choice[2]))
        sys.exit(fail(WRONG_USAGE, f"{message} (help: {self.prog} --help)"))


def suggest(word: str, words: Sequence[str]) -> str:
    """Return a question with the word that is most like a mistyped one, if any is."""
    nearest = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def make_parser(prog: str) -> tuple[Parser, dict[str, Parser]]:
    """Make the parser of the command line, and return the parser of each command, too."""
    parser = Parser(prog=prog, description="Reads handwritten digits, as a service or from the command line.")
    parser.add_argument("-V", "--version", action="version", version=f"digitserve {app.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    return parser, {
        name: commands.add_parser(name, help=summary, load=partial(load_command, name))
        for name, summary in COMMANDS.items()
    }


def load_command(name: str, parser: Parser) -> None:
    """Import a command, and add what it needs to its parser."""
    command = import_module(f"app.cli.{name}")
    parser.set_defaults(run=command.run)
    command.add_arguments(parser)


def complete_paths(action: argparse.Action) -> None:
    """Let shells complete file names for an argument."""
    action.complete = PATHS  # type: ignore[attr-defined]  # shtab reads this attribute
