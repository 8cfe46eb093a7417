"""An example of each error, for the OpenAPI document."""

from collections.abc import Iterator

from app import errors
from app.errors import DeadlineError, DigitserveError
from app.http.problems import CONNECTION_PROBLEMS, TABLE
from app.inference.admission import TOO_MANY_REQUESTS

DETAILS: dict[type[DigitserveError], str] = {
    errors.MalformedRequestError: "The form has no file. Send one, for example with -F file=@digit.png.",
    errors.UnauthorizedError: "The API key is unknown.",
    errors.UnknownHostError: "This service does not serve that host.",
    errors.UnknownModelError: "Unknown model. This service has digitnet, version 1.7.0.",
    errors.SlowRequestError: "The body arrived too slowly.",
    errors.BodyTooLargeError: "The body is larger than the limit of 10,000,000 bytes.",
    errors.UnsupportedMediaError: "The file is not an image of an accepted type: PNG, JPEG, WEBP, BMP, GIF.",
    errors.UnsupportedEncodingError: "Send the body as it is, or with one Content-Encoding: gzip or deflate.",
    errors.BrokenImageError: "The image starts like a PNG file, but cannot be decoded. It is damaged or cut short.",
    errors.ImageSizeError: "The image has 20000 x 20000 pixels. The limit is 40,000,000.",
    errors.CrowdedPictureError: "There is far more in this picture than numbers of up to 20 digits. "
    "Send only the part to read.",
    errors.OverloadedError: TOO_MANY_REQUESTS,
    errors.NotReadyError: "The service is stopping.",
    errors.EngineFailedError: "The engine has failed. The service is testing it again.",
    errors.DeadlineError: str(DeadlineError()),
}


def list_examples(status: int) -> Iterator[tuple[str, str, str]]:
    """Yield slug, title and detail of an example of each error with this status."""
    for kind, detail in DETAILS.items():
        code, slug, title = TABLE[kind]
        if code == status:
            yield slug, title, detail
    if status == 431:
        yield CONNECTION_PROBLEMS[status]
