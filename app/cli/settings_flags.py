"""Command-line flags for the settings of the service."""

import argparse
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from app.cli.parser import complete_paths
from app.errors import StartupError, UsageError
from app.settings import Settings

GROUPS = {
    "server": ("host", "port", "root_path", "workers", "worker_timeout_s", "fault_s"),
    "model": ("model", "engine", "device", "cascade", "threads", "batch_max", "batch_wait_ms"),
    "limits": (
        *("max_body_bytes", "max_batch", "max_batch_bytes", "max_pixels"),
        *("max_inflight", "max_inflight_pixels", "max_inflight_bytes", "max_connections"),
    ),
    "times": ("deadline_ms", "head_s", "body_s", "body_rate", "keep_alive_s", "drain_ms", "grace_s"),
    "security": ("api_keys", "open_metrics", "open_pages", "allowed_hosts", "cors_origins", "forwarded_allow_ips"),
    "logging": ("log_level",),
}
PLACEHOLDERS = {bool: "{true,false}", Path: "FOLDER", str: "TEXT"}  # for all other types: N


def add_flags(parser: "argparse.ArgumentParser | argparse._ArgumentGroup", *names: str) -> None:
    """Add a flag for each named setting. A flag that is not given is left to the environment."""
    for name in names:
        field = Settings.model_fields[name]
        action = parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            help=f"{field.description} [DIGITS_{name.upper()}, default: {format_default(field)}]".replace("%", "%%"),
            **describe_values(field),
        )
        if field.annotation is Path:
            complete_paths(action)


def describe_values(field: FieldInfo) -> dict[str, Any]:
    """Return the arguments of ``add_argument`` that say which values a flag takes."""
    if get_origin(field.annotation) is Literal:
        return {"choices": get_args(field.annotation), "type": str.lower}
    return {"metavar": next((name for kind, name in PLACEHOLDERS.items() if field.annotation is kind), "N")}


def format_default(field: FieldInfo) -> str:
    """Return the default of a setting as it is typed."""
    default = field.default
    if field.default_factory:
        return "the released model"
    if isinstance(default, float):
        return f"{default:g}"
    return str(default).lower() if isinstance(default, bool) else str(default) or "none"


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given as flags."""
    return {name: getattr(arguments, name) for name in Settings.model_fields if hasattr(arguments, name)}


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Read the settings from the flags, the environment, ``.env`` and the defaults.

    Raises:
        UsageError: A setting is invalid.
        StartupError: ``.env`` cannot be read.
    """
    try:
        return Settings(**given_settings(arguments))
    except ValidationError as error:
        raise UsageError("\n".join(map(describe_fault, error.errors(include_url=False)))) from None
    except UnicodeDecodeError:
        raise StartupError(".env is not UTF-8 text") from None
    except OSError as error:
        raise StartupError(f".env cannot be read: {error.strerror}") from None


def describe_fault(fault: ErrorDetails) -> str:
    """Return what is wrong with a setting. Some faults concern two settings, and name both."""
    name = ".".join(str(part) for part in fault["loc"])
    where = f"setting {name} (DIGITS_{name.upper()}): " if name else ""
    return where + fault["msg"].removeprefix("Value error, ")
