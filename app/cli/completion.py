"""``digitserve completion``: prints the script with which a shell completes our commands."""

import argparse

from app.cli.parser import Parser, make_parser

DESCRIPTION = """\
Print a script with which a shell completes commands, flags and file names.
Run this in a shell, or add it to its start file:

  bash  eval "$(%(prog)s bash)"
  zsh   eval "$(%(prog)s zsh)"
  fish  %(prog)s fish | source
"""


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.usage, parser.description = "%(prog)s SHELL", DESCRIPTION
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell: bash, zsh or fish", metavar="SHELL")


def run(arguments: argparse.Namespace) -> int:
    """Print the script. Returns 0."""
    import shtab

    parser, commands = make_parser("digitserve")
    for command in commands.values():
        command.load()
    print(shtab.complete(parser, arguments.shell))
    return 0
