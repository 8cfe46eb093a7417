"""The exceptions of the package. They know nothing of HTTP: ``http/problems.py`` maps them to answers.

A message is for the person who can act on it. A message about an upload contains no path of the server.
"""

from collections.abc import Mapping, Sequence
from typing import Any

NOT_ENOUGH_MEMORY = "There is not enough memory for this image now."


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
