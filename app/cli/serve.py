"""``digitserve serve``: runs the service."""

import argparse

from app.cli.settings_flags import add_flags, given_settings
from app.settings import Settings


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the service. A flag takes precedence over the environment, then .env, then the default.",
    )
    add_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the service until a signal stops it.

    Returns:
        The exit status of the process; 3 if the service could not start.

    Raises:
        StartupError: The service cannot start with these settings.
        ValidationError: A setting is invalid.
    """
    settings = Settings(**given_settings(arguments))

    # These imports take half a second, and ``digitserve --help`` needs none of them.
    from app.http.middleware.auth import read_keys
    from app.main import create_app
    from app.observability.tracing import open_provider
    from app.server.run import run as run_server

    if settings.workers > 1:
        read_keys(settings.api_keys)  # reports an error once, not once per worker
    return run_server(settings, lambda: create_app(settings, open_provider()))
