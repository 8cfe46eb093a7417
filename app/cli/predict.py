"""``digitserve predict``: reads image files, locally or with a running service."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from app.cli.console import INCOMPLETE, INTERRUPTED, OK, fail, note
from app.cli.image_files import ImageFile, find_image_files, open_image
from app.cli.parser import Parser, complete_paths
from app.cli.progress import Progress
from app.cli.results import Format, Outcome, Output, open_output
from app.cli.settings_flags import add_flags, given_settings, read_settings
from app.errors import CommandError, DigitserveError, ServiceError, UnsupportedMediaError, UsageError, install_command

OnOutcomes = Callable[[Sequence[Outcome]], None]
OnWait = Callable[[str], None]  # gets the reason for a wait
Reader = Callable[[Iterable[ImageFile], OnOutcomes, OnWait], None]

FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "json", ".ndjson": "json"}  # by the name of the output file
DESCRIPTION = """\
Read pictures of digits, locally or (with --url) with a running service.

examples:
  %(prog)s seven.png
  curl -s http://camera.example/now.jpg | %(prog)s -
  %(prog)s --output digits.csv scans/
  %(prog)s --url http://127.0.0.1:8000 --output digits.csv --resume scans/
"""


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.usage, parser.description = "%(prog)s [flags] FILE ...", DESCRIPTION
    files = parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="a PNG, JPEG, WebP, BMP or GIF file (with the extra heic also HEIC or TIFF), a folder (all pictures in it "
        "and its subfolders, by name), or - for standard input",
    )
    complete_paths(files)
    parser.add_argument("--read", action="store_true", help="read a whole number from each file, like POST /read")

    output = parser.add_argument_group("output")
    form = output.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object per line: the file and the service's answer")
    form.add_argument(
        "--csv", action="store_true", help="CSV with a header: file, digit, confidence, accepted, reason, error"
    )
    file = output.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write to this file; a name that ends in .csv or .jsonl selects the format",
    )
    complete_paths(file)
    output.add_argument(
        "--resume",
        action="store_true",
        help="continue the --output file of an interrupted run, or start it if it does not exist",
    )

    service = parser.add_argument_group("with a running service")
    service.add_argument("--url", metavar="URL", help="address of the service, such as http://127.0.0.1:8000")
    service.add_argument("--api-key", metavar="KEY", help="API key, if the service requires one [DIGITS_API_KEY]")
    add_flags(
        parser.add_argument_group("without a service"), "model", "engine", "device", "threads", "cascade", "max_pixels"
    )


def run(arguments: argparse.Namespace) -> int:
    """Read pictures, and write the outcomes in order.

    Returns:
        0 if every file was read, 1 if not, 130 if interrupted.

    Raises:
        UsageError: The arguments are wrong.
        StartupError: The local model cannot be loaded.
        CommandError: The output cannot be written.
    """
    read = make_service_reader(arguments) if arguments.url else make_local_reader(arguments)
    try:
        with open_output(arguments.output, select_format(arguments), arguments.read, arguments.resume) as output:
            return read_files(read, output, arguments)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = error.filename or arguments.output or "standard output"
        raise CommandError(f"{where}: {error.strerror or error}") from None


def select_format(arguments: argparse.Namespace) -> Format:
    """Return the format of the output: by a flag, or by the name of the file."""
    if arguments.resume and not arguments.output:
        raise UsageError("--resume needs --output")
    if arguments.json or arguments.csv:
        return "json" if arguments.json else "csv"
    if not arguments.output:
        return "text"
    if format := FORMATS.get(arguments.output.suffix.lower()):
        return format
    raise UsageError(f"--output {arguments.output}: add --csv or --json, or use a name that ends in .csv or .jsonl")


def read_files(read: Reader, output: Output, arguments: argparse.Namespace) -> int:
    """Read the files that the output does not have yet, and report problems. Return the exit status."""
    visible = sys.stderr.isatty() and (arguments.output is not None or not sys.stdout.isatty())
    total = sum(1 for _ in find_image_files(arguments.files)) if visible else 0
    progress = Progress(total, output.count, visible)

    def on_outcomes(outcomes: Sequence[Outcome]) -> None:
        if not all(outcome.answer for outcome in outcomes):
            progress.clear()  # errors may go to standard error
        output.write(outcomes)
        progress.update(output.count, output.failed)

    status, reason = OK, ""
    try:
        read(output.skip_done(find_image_files(arguments.files)), on_outcomes, progress.show)
    except KeyboardInterrupt:
        status, reason = INTERRUPTED, "interrupted"
    except ServiceError as error:
        status, reason = INCOMPLETE, str(error)
    finally:
        progress.clear()
    if status:
        resume = (
            "run the same command with --resume to continue"
            if arguments.output
            else "to be able to continue, use --output"
        )
        return fail(status, f"{reason}\n{output.count:,} done; {resume}" if output.count else reason)
    has_records = select_format(arguments) != "text"
    if arguments.output or any(path.is_dir() for path in arguments.files) or (output.failed and has_records):
        note(output.summarize(see="; see the error field" if has_records else ""))
        if arguments.output:
            note(f"the results are in {arguments.output}")
    return INCOMPLETE if output.failed else OK


def make_service_reader(arguments: argparse.Namespace) -> Reader:
    """Return a reader that uses a running service.

    Raises:
        UsageError: The arguments do not go together, or httpx is not installed.
    """
    url = check_url(arguments.url)
    if settings := given_settings(arguments):
        flag = f"--{next(iter(settings)).replace('_', '-')}"
        raise UsageError(f"{flag} has no effect with --url, because the service has its own settings")
    api_key = (arguments.api_key or os.environ.get("DIGITS_API_KEY", "")).strip()
    if not (api_key.isascii() and api_key.isprintable()):
        raise UsageError("the API key contains characters that a header cannot contain")
    try:
        from app.cli.client import connect
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise UsageError(f"--url needs httpx: {install_command('client')}") from None

    def read(images: Iterable[ImageFile], on_outcomes: OnOutcomes, on_wait: OnWait) -> None:
        import asyncio

        async def read_all() -> None:
            async with connect(url, api_key, arguments.read, on_wait=on_wait) as client:
                await client.read(images, on_outcomes)

        asyncio.run(read_all())

    return read


def check_url(text: str) -> str:
    """Return the URL if it is a valid address of a service.

    Raises:
        UsageError: It is not.
    """
    try:
        url = urlsplit(text)
        valid = (
            url.scheme in ("http", "https") and url.hostname and url.port != 0 and not url.query and not url.fragment
        )
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"--url {text} is not like http://127.0.0.1:8000")
    return text


def make_local_reader(arguments: argparse.Namespace) -> Reader:
    """Load the model, and return a reader that uses it.

    Raises:
        UsageError: The arguments do not go together, or a setting is invalid.
        StartupError: The model cannot be loaded.
    """
    if arguments.api_key:
        raise UsageError("--api-key needs --url")
    settings = read_settings(arguments)
    from app.cli.local_reader import LocalReader

    reader = LocalReader(settings, arguments.read)

    def read_file(file: str, error: str | None) -> Outcome:
        if error:
            return Outcome(file, None, error)
        try:
            with open_image(file) as stream:
                (answer,) = reader.read([stream.read()])
        except OSError as fault:
            return Outcome(file, None, fault.strerror)
        if isinstance(answer, DigitserveError):
            extra = answer.extra if isinstance(answer, UnsupportedMediaError) else ""
            return Outcome(file, None, f"{answer} Here: {install_command(extra)}" if extra else str(answer))
        return Outcome(file, answer)

    def read(images: Iterable[ImageFile], on_outcomes: OnOutcomes, on_wait: OnWait) -> None:
        for file, error in images:
            on_outcomes([read_file(file, error)])

    return read
