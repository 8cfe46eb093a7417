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


class OverloadedError(DigitserveError):
    """More requests wait than may wait. Trying again in a moment is right."""


class NotReadyError(DigitserveError):
    """The service is starting or stopping."""
