"""The predict command: pictures -> what they are read as, here or by a running service.

Knows nothing of how a service is asked: that is ``client.py``.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.cli.console import fail
from app.cli.image_files import Found, find
from app.cli.progress import Progress
from app.cli.results import Format, Outcome, Output, open_output
from app.cli.settings_flags import add_flags, given_settings
from app.errors import DigitserveError, ServiceError, UsageError
from app.settings import Settings

Tell = Callable[[Sequence[Outcome]], None]
Reader = Callable[[Iterable[Found], Tell, Callable[[str], None]], None]  # the last is told what it waits for

SUFFIXES: dict[str, Format] = {".csv": "csv", ".jsonl": "json", ".ndjson": "json"}
EPILOG = """\
examples:
  digitserve predict seven.png
  digitserve predict --url http://127.0.0.1:8000 --output digits.csv scans/
  digitserve predict --url http://127.0.0.1:8000 --output digits.csv --resume scans/

exit status: 0 all were read, 1 some could not be, 2 wrong usage, 3 the model cannot be loaded, 130 Ctrl-C
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = commands.add_parser("predict", help="read image files, locally or with a running service")
    parser.set_defaults(run=run)
    parser.description = "Read pictures of digits: here, or with --url by a running service."
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="PNG, JPEG, WebP, BMP or GIF; or a folder: all pictures in it and in its folders, by name",
    )
    parser.add_argument("--read", action="store_true", help="read a whole number from each, as POST /read does")

    output = parser.add_argument_group("what is written")
    form = output.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="a JSON object a line: the file, and what the service answers"
    )
    form.add_argument(
        "--csv", action="store_true", help="a table with a header: file, digit, confidence, accepted, reason, error"
    )
    output.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write to this file, as CSV or JSON lines; its name tells which, too",
    )
    output.add_argument(
        "--resume",
        action="store_true",
        help="go on with a --output that was broken off, or begin it if it is not there",
    )

    service = parser.add_argument_group("with a running service")
    service.add_argument(
        "--url", metavar="URL", help="have the service at this address read, such as http://127.0.0.1:8000"
    )
    service.add_argument("--api-key", metavar="KEY", help="the service's key, if it asks for one [DIGITS_API_KEY]")
    add_flags(
        parser.add_argument_group("without a service"), "model", "engine", "device", "threads", "cascade", "max_pixels"
    )


def run(given: argparse.Namespace) -> int:
    """Read pictures, and write what came of each in its place.

    Returns:
        0 if all were read, 1 if not, 2 if it was asked for what cannot be, 130 if it was interrupted.

    Raises:
        StartupError, ValidationError: the model that is to read here cannot be had.
    """
    try:
        read = by_service(given) if given.url else here(given)
        with open_output(given.output, output_format(given), given.read, given.resume) as output:
            return carry_out(read, output, given)
    except UsageError as error:
        return fail(2, str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads what we print has read enough, and Python is to flush no more to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return fail(1, f"{error.filename or given.output or 'standard output'}: {error.strerror or error}")


def output_format(given: argparse.Namespace) -> Format:
    """What is asked for, by a flag or by the name of the file."""
    if given.resume and not given.output:
        raise UsageError("--resume goes on with the file that --output names")
    if given.json or given.csv:
        return "json" if given.json else "csv"
    if not given.output:
        return "words"
    if found := SUFFIXES.get(given.output.suffix.lower()):
        return found
    raise UsageError(f"--output {given.output}: --csv or --json, or a name that ends in .csv or .jsonl, tells its form")


def carry_out(read: Reader, output: Output, given: argparse.Namespace) -> int:
    """Read what is not in the output yet, and tell how it went."""
    watched = sys.stderr.isatty() and (given.output is not None or not sys.stdout.isatty())
    progress = Progress(sum(1 for _ in find(given.files)) if watched else 0, output.written, watched)

    def tell(outcomes: Sequence[Outcome]) -> None:
        if not all(outcome.answer for outcome in outcomes):
            progress.clear()  # standard error may be written to
        output.write(outcomes)
        progress.at(output.written, output.failed)

    ended = None
    try:
        read(output.missing(find(given.files)), tell, progress.note)
    except KeyboardInterrupt:
        ended = 130, "stopped"
    except ServiceError as error:
        ended = 1, str(error)
    finally:
        progress.clear()
    if ended:
        status, reason = ended
        go_on = "the same command with --resume goes on" if given.output else "--output and --resume could go on"
        return fail(status, f"{reason}\ndigitserve: {output.written:,} done; {go_on}" if output.written else reason)
    if output.failed and output_format(given) != "words":
        print(f"digitserve: {output.failed:,} of {output.written:,} could not be read: see error", file=sys.stderr)
    return int(output.failed > 0)


def by_service(given: argparse.Namespace) -> Reader:
    """Have a running service read."""
    url = checked_url(given.url)
    if settings := given_settings(given):
        raise UsageError(f"--{next(iter(settings)).replace('_', '-')} is for reading here, and the service has its own")
    api_key = (given.api_key or os.environ.get("DIGITS_API_KEY", "")).strip()
    if not (api_key.isascii() and api_key.isprintable()):
        raise UsageError("the API key has characters that no header can have")
    try:
        from app.cli.client import connect
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise UsageError("--url needs httpx: pip install 'digitserve[client]'") from None

    def read(files: Iterable[Found], tell: Tell, note: Callable[[str], None]) -> None:
        async def read_all() -> None:
            async with connect(url, api_key, given.read, on_wait=note) as client:
                await client.read(files, tell)

        asyncio.run(read_all())

    return read


def checked_url(text: str) -> str:
    try:
        url = urlsplit(text)
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0 and not url.query and not url.fragment
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"--url {text} is not like http://127.0.0.1:8000")
    return text


def here(given: argparse.Namespace) -> Reader:
    """Load the model, and read without a service.

    Raises:
        StartupError, ValidationError: it cannot be had.
    """
    from app.http.schemas import prediction_to_dict, reading_to_dict
    from app.inference import model_folder
    from app.inference.engine_selection import open_engine
    from app.inference.scores import score_pictures
    from app.recognition.digit import make_prediction, prepare_file

    if given.api_key:
        raise UsageError("--api-key is for a service, and there is no --url")
    settings = Settings(**given_settings(given))
    model = model_folder.load(settings.model)
    engine = open_engine(model, settings.engine, settings.device, settings.threads, settings.network)
    thresholds = model.manifest.thresholds(engine.name, settings.network)

    def read_one(data: bytes) -> dict[str, Any]:
        if given.read:
            from app.recognition.number import read_number

            reading = read_number(data, settings.max_pixels, engine, thresholds, model.manifest.id)
            return reading_to_dict(reading)
        picture = prepare_file(data, settings.max_pixels)
        scored = None if picture.blank else score_pictures(engine, [picture.pixels]).to_list()[0]
        return prediction_to_dict(make_prediction(picture, scored, thresholds, model.manifest.id))

    def outcome_of(file: str, error: str | None) -> Outcome:
        if error:
            return Outcome(file, None, error)
        try:
            return Outcome(file, read_one(Path(file).read_bytes()))
        except OSError as fault:
            return Outcome(file, None, fault.strerror)
        except DigitserveError as fault:
            return Outcome(file, None, str(fault))

    def read(files: Iterable[Found], tell: Tell, note: Callable[[str], None]) -> None:
        for file, error in files:
            tell([outcome_of(file, error)])

    return read
