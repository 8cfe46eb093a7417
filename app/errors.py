"""What can go wrong, in the words of the domain.

Knows no HTTP: ``problems.py`` has the one table that turns these into answers. A message is written for the person
who can act on it, and holds no path of the server when it concerns an upload.
"""


class DigitserveError(Exception):
    """The root of everything that this package raises on purpose."""


class StartupError(DigitserveError):
    """The service cannot start as it was asked to."""


class ModelFolderError(StartupError):
    """A model folder is missing, incomplete, altered, or does not do what its manifest says."""


class EngineUnavailableError(StartupError):
    """The engine or the device that was asked for is not on this machine."""


class CommandError(DigitserveError):
    """A command line cannot do what it was asked to."""


class UsageError(CommandError):
    """The command line asks for what cannot be."""


class ServiceError(CommandError):
    """A service that we are the client of does not answer as we can use it."""


class RequestError(DigitserveError):
    """Something about a request that its sender can mend."""


class MalformedRequestError(RequestError):
    """The body is not in one of the forms that we take."""


class BodyTooLargeError(RequestError):
    """The body has more bytes than are allowed."""


class UnsupportedMediaError(RequestError):
    """The bytes are not an image of a type that we take."""


class BrokenImageError(RequestError):
    """The bytes begin as an image of a known type, and cannot be decoded."""


class ImageSizeError(RequestError):
    """The image is well-formed, and its size in pixels is outside the limits."""


class CrowdedPictureError(RequestError):
    """There is more on the picture than is read at once."""


class UnknownModelError(RequestError):
    """There is no model of that name and version here."""


class SlowRequestError(RequestError):
    """The request came too slowly, and was not waited for."""


class UnauthorizedError(RequestError):
    """The request has no key, or none that is known."""


class UnknownHostError(RequestError):
    """The request is for a host that this service does not answer for."""


class OverloadedError(DigitserveError):
    """More is under way than may be. Trying again after ``retry_after`` seconds is right."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(DigitserveError):
    """The answer would have come too late, and was not worked out."""

    def __init__(self, message: str = "There was no time left when the picture's turn came.") -> None:
        super().__init__(message)


class NotReadyError(DigitserveError):
    """The service is starting or stopping."""


class EngineFailedError(DigitserveError):
    """The engine failed, or what it gave is no answer."""
