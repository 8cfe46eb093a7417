"""Reads image files with an engine in this process, without a service."""

from collections.abc import Sequence
from typing import Any

from app.errors import DigitserveError
from app.http.schemas import prediction_to_dict, reading_to_dict
from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.scores import score_pictures
from app.recognition.digit import PreparedPicture, make_prediction, prepare_file
from app.recognition.number import read_number
from app.settings import Settings


class LocalReader:
    """A model, loaded.

    Args:
        settings: Which model and engine to load, and how large a picture may be.
        whole_numbers: Whether to read a number from each picture, like ``POST /read``, instead of one digit.

    Raises:
        StartupError: The model cannot be loaded.
    """

    def __init__(self, settings: Settings, whole_numbers: bool = False) -> None:
        manifest = (model := model_folder.load(settings.model)).manifest
        self._engine = open_engine(model, settings.engine, settings.device, settings.threads, settings.network)
        self._thresholds = manifest.thresholds(self._engine.name, settings.network)
        self._model = manifest.id
        self._max_pixels = settings.max_pixels
        self._whole_numbers = whole_numbers

    def read(self, files: Sequence[bytes]) -> list[dict[str, Any] | DigitserveError]:
        """Read files. Return for each the service's answer, or the error that the service would answer."""
        return [self._read_number(data) for data in files] if self._whole_numbers else self._read_digits(files)

    def _read_number(self, data: bytes) -> dict[str, Any] | DigitserveError:
        try:
            reading = read_number(data, self._max_pixels, self._engine, self._thresholds, self._model)
        except DigitserveError as error:
            return error
        return reading_to_dict(reading)

    def _read_digits(self, files: Sequence[bytes]) -> list[dict[str, Any] | DigitserveError]:
        """Score all pictures in one batch."""
        prepared = [self._prepare(data) for data in files]
        pictures = [each.pixels for each in prepared if isinstance(each, PreparedPicture) and not each.blank]
        scores = iter(score_pictures(self._engine, pictures).to_list() if pictures else ())
        answers: list[dict[str, Any] | DigitserveError] = []
        for each in prepared:
            if isinstance(each, PreparedPicture):
                score = None if each.blank else next(scores)
                answers.append(prediction_to_dict(make_prediction(each, score, self._thresholds, self._model)))
            else:
                answers.append(each)
        return answers

    def _prepare(self, data: bytes) -> PreparedPicture | DigitserveError:
        try:
            return prepare_file(data, self._max_pixels)
        except DigitserveError as error:
            return error
