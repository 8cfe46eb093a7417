"""Command-line flags for the settings of the service."""

import argparse
from typing import Any

from app.errors import StartupError
from app.settings import Settings


def add_flags(parser: "argparse.ArgumentParser | argparse._ArgumentGroup", *names: str) -> None:
    """Add a flag for each named setting, or for all of them. A flag that is not given is left to the environment."""
    for name, field in Settings.model_fields.items():
        if not names or name in names:
            default = "the released model" if name == "model" else "none" if field.default == "" else field.default
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                dest=name,
                default=argparse.SUPPRESS,
                metavar="VALUE",
                help=f"{field.description} [DIGITS_{name.upper()}, default: {default!s}]".replace("%", "%%"),
            )


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given as flags."""
    return {name: getattr(arguments, name) for name in Settings.model_fields if hasattr(arguments, name)}


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Read the settings from the flags, the environment, ``.env`` and the defaults.

    Raises:
        StartupError: ``.env`` cannot be read.
        ValidationError: A setting is invalid.
    """
    try:
        return Settings(**given_settings(arguments))
    except UnicodeDecodeError:
        raise StartupError(".env is not UTF-8 text") from None
    except OSError as error:
        raise StartupError(f".env cannot be read: {error.strerror}") from None
