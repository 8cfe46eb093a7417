"""The exceptions of the package, and the commands that their messages recommend.

Exceptions know nothing of HTTP: ``http/problems.py`` maps them to answers. A message is for the person who can act on
it, so its command fits how this copy was installed. A message about an upload contains no path of the server.
"""

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import requires
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[1]  # if it has a pyproject.toml
SBOM = Path(sys.prefix, "sbom.cdx.json")  # only the container image has one there
NOT_ENOUGH_MEMORY = "There is not enough memory for this request now."


class DigitserveError(Exception):
    """The base class of every exception that this package raises on purpose."""


class StartupError(DigitserveError):
    """The service cannot start with these settings."""


class PortInUseError(StartupError):
    """Another program listens on the port."""


class ModelFolderError(StartupError):
    """A model folder is missing, incomplete or altered, or the model does not do what its manifest says."""


class EngineUnavailableError(StartupError):
    """This machine does not have the engine or the device."""


class CommandError(DigitserveError):
    """A command cannot do what it was asked to do."""


class UsageError(CommandError):
    """The command line is wrong."""


class ServiceError(CommandError):
    """A service that a command calls does not answer as expected."""


class RequestError(DigitserveError):
    """A fault in a request that the client can correct."""


class MalformedRequestError(RequestError):
    """The body has none of the forms that we accept."""


class BodyTooLargeError(RequestError):
    """The body is larger than the limit."""


class UnsupportedMediaError(RequestError):
    """The bytes are not an image of a supported type. Perhaps an ``extra`` of the package would support it."""

    def __init__(self, message: str, extra: str = "") -> None:
        super().__init__(message)
        self.extra = extra


class UnsupportedEncodingError(RequestError):
    """The body is compressed in a way that we do not accept."""


class BrokenImageError(RequestError):
    """The bytes start like an image of a supported type but cannot be decoded."""


class ImageSizeError(RequestError):
    """The image has too many pixels."""


class CrowdedPictureError(RequestError):
    """The picture shows more than one request may read."""


class UnknownModelError(RequestError):
    """This service has no model of that name and version."""


class SlowRequestError(RequestError):
    """The request arrived too slowly."""


class UnauthorizedError(RequestError):
    """The request has no API key, or an unknown one."""


class UnknownHostError(RequestError):
    """The request names a host that this service does not serve."""


class OverloadedError(DigitserveError):
    """The service has too much work. The client may try again after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(DigitserveError):
    """The deadline passed before the answer was computed."""

    def __init__(self, message: str = "The deadline passed while the picture waited.") -> None:
        super().__init__(message)


class NotReadyError(DigitserveError):
    """The service is starting or stopping."""


class EngineFailedError(DigitserveError):
    """The engine raised an exception, or its output is not valid."""


def describe_first_error(errors: Sequence[Mapping[str, Any]]) -> str:
    """Describe the first of pydantic's validation errors as ``field.name: what is wrong``, without the value."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def python_command() -> str:
    """Return the interpreter that runs, as a word for a shell."""
    return shlex.quote(shorten(Path(sys.executable)))


def our_command() -> str:
    """Return how a person starts the command line here: the script that was started, or the module."""
    script = Path(sys.argv[0]).absolute()
    if script.stem != "digitserve":
        return f"{python_command()} -m app"
    return script.stem if shutil.which(script.stem) == str(script) else shlex.quote(shorten(script))


def install_command(extra: str) -> str:
    """Return the command that adds an extra of pyproject.toml: to a checkout, an installed wheel or the image.

    The package is not on PyPI, so for a wheel it names the packages of the extra. The image has no pip.
    """
    if SBOM.is_file():
        return f"docker build -t digitserve --build-arg EXTRA={extra} ."
    if (CHECKOUT / "pyproject.toml").is_file():
        packages = ["-e", f"{shorten(CHECKOUT)}[{extra}]"]
    else:
        found = (line.replace("'", '"').partition("; extra == ") for line in requires("digitserve") or ())
        packages = sorted({requirement for requirement, _, name in found if name.strip('"') in extra.split(",")})
    return f"{python_command()} -m pip install {shlex.join(packages)}"


def shorten(path: Path) -> str:
    """Return a path, relative to the working folder if it is inside."""
    folder = Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
