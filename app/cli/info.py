"""``digitserve info``: prints the model, the engine and the limits that the service would use."""

import argparse

from app.cli.parser import Parser
from app.cli.settings_flags import add_flags, read_settings


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.usage = "%(prog)s [flags]"
    parser.description = "Print the model, the engine, the limits and the thresholds, as GET /info answers."
    add_flags(parser, "model", "engine", "device", "threads", "cascade")


def run(arguments: argparse.Namespace) -> int:
    """Print the model, the engine, the limits and the thresholds as JSON.

    Returns:
        The exit status, 0.

    Raises:
        StartupError: The model or the engine cannot be loaded.
        UsageError: A setting is invalid.
    """
    settings = read_settings(arguments)

    from app.http.routes.health import describe_service
    from app.inference import model_folder
    from app.inference.engine_selection import open_engine

    model = model_folder.load(settings.model)
    engine = open_engine(model, settings.engine, settings.device, settings.threads, settings.network)
    print(describe_service(settings, model, engine).model_dump_json(indent=2))
    return 0
