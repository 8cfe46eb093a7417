"""Measure how well the service reads what people send: digits and numbers on paper, and what a picture costs.

    python -m benchmarks.pictures [--count 1000] [--sheet docs/images/misread-photos.png]

``synthetic_photographs.py`` makes the pictures from MNIST digits that the model was not trained on. They are files and
go through the same steps as in the service: decode, normalise, cascade; for numbers, the steps of /read.
DIGITS_DATA_DIR names the folder of MNIST.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from app.errors import RequestError
from app.imaging.digit_image import DIGIT_SIZE
from app.imaging.encode import to_png
from app.imaging.normalize import centre_by_mass
from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.inference.scores import score_pictures
from app.recognition.answers import BoxInfo, Prediction, Reading
from app.recognition.digit import PreparedPicture, make_prediction, prepare_file
from app.recognition.number import read_number
from app.settings import released_model
from benchmarks.data import DATA_DIR, load_held_out, required_data
from benchmarks.synthetic_photographs import Grey, Photo, make_photo
from tests.support.pictures import make_page
from training.data.mnist import Digits
from training.data.other_datasets import read_sklearn_pictures, read_usps_pictures

MAX_PIXELS = 25_000_000
SEED = 2026  # the thresholds in app/imaging were chosen on pictures of seeds below 100


class Answer(NamedTuple):
    """What the service made of a file."""

    text: str  # what it read; after an error, the error
    accepted: bool
    reason: str | None
    boxes: Sequence[BoxInfo] = ()  # of the digits


@dataclass(frozen=True)
class Model:
    """A model, run as the service runs it."""

    folder: model_folder.ModelFolder
    engine: Engine

    @classmethod
    def released(cls) -> "Model":
        model = model_folder.load(released_model())
        return cls(model, open_engine(model, "onnxruntime", "cpu", 1))

    def predict(self, file: bytes) -> tuple[PreparedPicture, Prediction]:
        """Read one digit, as /predict does."""
        picture = prepare_file(file, MAX_PIXELS)
        score = None if picture.blank else score_pictures(self.engine, [picture.pixels]).to_list()[0]
        thresholds = self.folder.manifest.thresholds("onnxruntime", None)
        return picture, make_prediction(picture, score, thresholds, self.folder.manifest.id)

    def read(self, file: bytes) -> Reading:
        """Read a number, as /read does."""
        thresholds = self.folder.manifest.thresholds("onnxruntime", None)
        return read_number(file, MAX_PIXELS, self.engine, thresholds, self.folder.manifest.id)

    def answer(self, file: bytes, is_number: bool) -> Answer:
        """Read a number or one digit, as the service does. An error of the service counts as refused."""
        try:
            if is_number:
                reading = self.read(file)
                boxes = [digit.box for line in reading.lines for digit in line.digits]
                return Answer(reading.text, reading.accepted, reading.reason, boxes)
            _, prediction = self.predict(file)
            text = "" if prediction.digit is None else str(prediction.digit)
            box = prediction.input.box
            return Answer(text, prediction.accepted, prediction.reason, [box] if box else [])
        except RequestError as error:
            return Answer(f"{type(error).__name__}: {error}", False, "error")


@dataclass(frozen=True)
class Misread:
    """A picture that was read wrongly."""

    photo: Photo
    pixels: Grey  # what the network saw
    caption: str


def write_digits(
    held_out: Digits, generator: Generator, length: int, sizes: tuple[float, float], **options: bool
) -> Photo:
    """Write random held-out digits on paper."""
    indexes = generator.integers(len(held_out), size=length)
    digits = [(held_out.images[i].numpy(), int(held_out.labels[i])) for i in indexes]
    return make_photo(digits, generator, sizes=sizes, **options)


def measure_digits(model: Model, held_out: Digits, count: int) -> list[Misread]:
    """Read photographs of one digit, and print how many are right, accepted, and accepted but wrong."""
    generator = np.random.default_rng(SEED)
    right = accepted_right = accepted = 0
    misread = []
    for _ in range(count):
        photo = write_digits(held_out, generator, 1, (20, 300))
        picture, prediction = model.predict(photo.data)
        correct = str(prediction.digit) == photo.text
        right += correct
        accepted += prediction.accepted
        accepted_right += correct and prediction.accepted
        if not correct:
            confidence = prediction.confidence or 0.0
            caption = f"{photo.text} > {prediction.digit}  {confidence:.2f} {prediction.reason}"
            misread.append(Misread(photo, picture.pixels, caption))
    print(f"one digit, 20 to 300 px: {right / count:.2%} right, of {count:,}")
    print(f"  accepted, of the right ones: {accepted_right / right:.2%}")
    print(f"  wrong, of the accepted ones: {1 - accepted_right / accepted:.2%}")
    return misread


def measure_numbers(model: Model, held_out: Digits, count: int, title: str, **options: bool) -> None:
    """Read photographs of five digits, and print how many numbers are exactly right."""
    generator = np.random.default_rng(SEED)
    right, seconds = 0, []
    for _ in range(count):
        photo = write_digits(held_out, generator, 5, (20, 150), **options)
        started = time.process_time()
        right += model.read(photo.data).text == photo.text
        seconds.append(time.process_time() - started)
    print(f"five digits, {title}: {right / count:.2%} exactly right, of {count:,}; {format_median(seconds)} each")


def measure_other_sets(model: Model, held_out: Digits) -> None:
    """Read digits of other sizes or colours: as PNG files through the service, and fitted to MNIST by hand."""
    with required_data():
        usps = read_usps_pictures(DATA_DIR)
    black_on_white = [255 - image for image in held_out.images.numpy()]
    sets: dict[str, tuple[Sequence[Grey] | NDArray[np.uint8], NDArray[np.int64]]] = {
        "USPS, 16x16": usps,
        "load_digits, 8x8": read_sklearn_pictures(),
        "held-out MNIST, black on white": (black_on_white, held_out.labels.numpy()),
    }
    for name, (pictures, labels) in sets.items():
        served = [model.predict(to_png(picture))[1].digit for picture in pictures]
        light = [255 - p for p in pictures] if "black" in name else pictures
        scores = [score_pictures(model.engine, [fit_by_hand(picture)]).to_list()[0] for picture in light]
        by_hand = [max(range(10), key=each.probabilities.__getitem__) for each in scores]
        ours, theirs = (float((np.array(read) == labels).mean()) for read in (served, by_hand))
        print(
            f"{name}: {ours:.2%} through the service, {theirs:.2%} fitted by hand, {100 * (ours - theirs):+.2f} points"
        )


def fit_by_hand(grey: Grey) -> Grey:
    """Fit light ink on black into 20x20 by area resampling, and centre it by mass: only what MNIST did."""
    rows, columns = np.flatnonzero(grey.any(axis=1)), np.flatnonzero(grey.any(axis=0))
    ink = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = DIGIT_SIZE / max(ink.shape)
    size = (max(1, round(ink.shape[1] * scale)), max(1, round(ink.shape[0] * scale)))
    return centre_by_mass(cv2.resize(ink, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


def format_median(seconds: Sequence[float]) -> str:
    """Format the median of some times."""
    median = statistics.median(seconds)
    return f"{median * 1e3:.1f} ms" if median > 1e-3 else f"{median * 1e6:.0f} µs"


def measure_costs(held_out: Digits) -> None:
    """Print the CPU time of decoding and normalising, without the network."""
    generator = np.random.default_rng(SEED)
    digit = held_out.images[0].numpy()

    def make_page(width: int, height: int, kind: str) -> bytes:
        size = height // 2
        ink = cv2.resize(digit.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 255) / 255
        paper = np.full((height, width, 3), 225, np.float32) * np.linspace(1, 0.7, width)[None, :, None]
        paper[height // 4 : height // 4 + size, width // 3 : width // 3 + size] *= 1 - 0.8 * ink[..., None]
        paper += generator.normal(0, 2, paper.shape)
        file = io.BytesIO()
        Image.fromarray(paper.clip(0, 255).astype(np.uint8)).save(file, kind, quality=85)
        return file.getvalue()

    files = {
        "28x28 PNG": (to_png(digit), 500),
        "640x480 JPEG": (make_page(640, 480, "JPEG"), 10),
        "640x480 PNG in colour": (make_page(640, 480, "PNG"), 10),
        "12 MP JPEG": (make_page(4000, 3000, "JPEG"), 3),
    }
    for name, (file, repeats) in files.items():
        work = partial(prepare_file, file, MAX_PIXELS)
        print(f"{name}: {format_median([measure_cpu(work, repeats) for _ in range(9)])}")


def measure_page_costs(model: Model) -> None:
    """Print the CPU time of reading a page of digits and two that cost far more: scrawls, and circles in circles."""
    golden = [digit.image for digit in model.folder.manifest.golden]
    rows = [[golden[(7 * row + column) % len(golden)] for column in range(7 if row < 4 else 6)] for row in range(5)]
    generator = np.random.default_rng(SEED)
    scrawls = np.full((1200, 1600), 225, np.uint8)
    for _ in range(150):
        steps = generator.normal(0, 14, (8, 2)).cumsum(axis=0) + generator.integers(60, (1500, 1100))
        cv2.polylines(scrawls, [steps.astype(np.int32)], False, 40, 3)
    circles = np.full((1280, 1280), 225, np.uint8)
    for radius in range(40, 640, 6):
        cv2.circle(circles, (640, 640), radius, 40, 2)
    for name, page in (("34 digits", make_page(rows, size=84)), ("150 scrawls", scrawls), ("100 circles", circles)):
        seconds = [measure_cpu(partial(model.read, to_png(page)), 1) for _ in range(5)]
        print(f"read a page of {name}: {format_median(seconds)}, {len(model.read(to_png(page)).text.split())} lines")


def measure_cpu(work: Callable[[], object], repeats: int) -> float:
    """Return the CPU seconds of one call."""
    started = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - started) / repeats


def draw_contact_sheet(misread: Sequence[Misread], path: Path) -> None:
    """Draw misread pictures, each beside what the network saw."""
    width, height, across = 250, 132, 5
    sheet = Image.new("RGB", (width * across, height * -(-len(misread) // across)), "white")
    for index, case in enumerate(misread):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(case.photo.data)))
        image.thumbnail((124, 108))
        left, top = index % across * width, index // across * height
        sheet.paste(image, (left + 2, top + 2))
        sheet.paste(Image.fromarray(case.pixels).resize((108, 108), Image.Resampling.NEAREST), (left + 132, top + 2))
        ImageDraw.Draw(sheet).text((left + 4, top + 114), case.caption, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    print(f"Wrote {path}: {len(misread)} misread pictures, each beside what the network saw.")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pictures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--count", type=int, default=1000, help="pictures of one digit; a third as many numbers of each kind [1000]"
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw misread pictures to this file")
    parser.add_argument("--most", type=int, default=10, help="pictures on the sheet [10]")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    model, held_out = Model.released(), load_held_out()
    print(f"{model.folder.manifest.id}, on synthetic photographs of digits that it was not trained on")
    misread = measure_digits(model, held_out, arguments.count)
    number_count = max(1, arguments.count // 3)
    measure_numbers(model, held_out, number_count, "apart")
    measure_numbers(model, held_out, number_count, "one pair touching", touching=True)
    measure_numbers(model, held_out, number_count, "in the boxes of a form", boxed=True)
    measure_other_sets(model, held_out)
    print("CPU time to decode and normalise one picture:")
    measure_costs(held_out)
    measure_page_costs(model)
    if arguments.sheet:
        draw_contact_sheet(misread[: arguments.most], arguments.sheet)


if __name__ == "__main__":
    main()
