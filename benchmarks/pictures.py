"""How well pictures are read that people send: digits and numbers on paper, and what a picture costs.

    python -m benchmarks.pictures [--count 1000] [--sheet docs/images/misread-photos.png]

The pictures are made by ``paper.py`` from MNIST digits that the model was held out from, as files that go through the
very steps of the service: decode, normalise, cascade; for numbers /read's. DIGITS_DATA_DIR names the folder of MNIST.
"""

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from app.settings import released_model
from app.inference import model_folder
from app.recognition import number
from app.recognition.digit import PreparedPicture, answer, prepare_file, score
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.imaging.digit_image import DIGIT_SIZE
from app.imaging.normalize import centred
from app.http.schemas import Prediction, Reading
from benchmarks.paper import Grey, Photo, photo
from training.data import mnist
from training.data.mnist import Digits
from training.data.corruptions import scikit_pictures, usps_pictures

MAX_PIXELS = 25_000_000
SEED = 2026  # the thresholds of normalize.py, ink.py and segment.py were chosen on pictures of seeds below 100


@dataclass(frozen=True)
class Model:
    """A model as the service runs it."""

    folder: model_folder.ModelFolder
    engine: Engine

    @classmethod
    def released(cls) -> "Model":
        model = model_folder.load(released_model())
        return cls(model, open_engine(model, "onnxruntime", "cpu", 1))

    def predict(self, file: bytes) -> tuple[PreparedPicture, Prediction]:
        picture = prepare(file, MAX_PIXELS)
        scored = None if picture.blank else score(self.engine, [picture.pixels])[0]
        thresholds = self.folder.manifest.thresholds("onnxruntime", None)
        return picture, answer(picture, scored, thresholds, self.folder.manifest.id)

    def read(self, file: bytes) -> Reading:
        thresholds = self.folder.manifest.thresholds("onnxruntime", None)
        return number.read(file, MAX_PIXELS, self.engine, thresholds, self.folder.manifest.id)


@dataclass(frozen=True)
class Misread:
    """A picture that was read wrongly, and what the network saw."""

    photo: Photo
    seen: Grey
    told: str


def written(held_out: Digits, generator: Generator, length: int, sizes: tuple[float, float], **how: bool) -> Photo:
    """Write some held-out digits, drawn by chance, on paper."""
    chosen = generator.integers(len(held_out), size=length)
    digits = [(held_out.images[i].numpy(), int(held_out.labels[i])) for i in chosen]
    return photo(digits, generator, sizes=sizes, **how)


def singles(model: Model, held_out: Digits, count: int) -> list[Misread]:
    """Read photographs of one digit, and print how many are right, accepted, and wrong though accepted."""
    generator = np.random.default_rng(SEED)
    right = accepted_right = accepted = 0
    misread = []
    for _ in range(count):
        made = written(held_out, generator, 1, (20, 300))
        picture, read = model.predict(made.data)
        good = str(read.digit) == made.text
        right += good
        accepted += read.accepted
        accepted_right += good and read.accepted
        if not good:
            confidence = read.confidence or 0.0
            misread.append(Misread(made, picture.pixels, f"{made.text} > {read.digit}  {confidence:.2f} {read.reason}"))
    print(f"one digit, 20 to 300 px: {right / count:.2%} right, of {count:,}")
    print(f"  of the right ones, accepted: {accepted_right / right:.2%}")
    print(f"  of the accepted ones, wrong: {1 - accepted_right / accepted:.2%}")
    return misread


def numbers(model: Model, held_out: Digits, count: int, title: str, **how: bool) -> None:
    """Read photographs of five digits, and print how many numbers are right to the last digit."""
    generator = np.random.default_rng(SEED)
    right, seconds = 0, []
    for _ in range(count):
        made = written(held_out, generator, 5, (20, 150), **how)
        started = time.process_time()
        right += model.read(made.data).text == made.text
        seconds.append(time.process_time() - started)
    print(f"five digits, {title}: {right / count:.2%} exactly right, of {count:,}; {told(seconds)} each")


def elsewhere(model: Model, data_dir: Path, held_out: Digits) -> None:
    """Digits that come in other sizes, through the service as PNG and fitted by hand."""
    black_on_white = [255 - image for image in held_out.images.numpy()]
    sets: dict[str, tuple[Sequence[Grey] | NDArray[np.uint8], NDArray[np.int64]]] = {
        "USPS, 16x16": usps_pictures(data_dir),
        "load_digits, 8x8": scikit_pictures(),
        "held-out MNIST, black on white": (black_on_white, held_out.labels.numpy()),
    }
    for name, (pictures, labels) in sets.items():
        served = [model.predict(png(picture))[1].digit for picture in pictures]
        light = [255 - p for p in pictures] if "black" in name else pictures
        scores = [score(model.engine, [by_hand(picture)])[0] for picture in light]
        fitted = [max(range(10), key=each.probabilities.__getitem__) for each in scores]
        ours, theirs = (float((np.array(read) == labels).mean()) for read in (served, fitted))
        print(
            f"{name}: {ours:.2%} through the service, {theirs:.2%} fitted by hand, {100 * (ours - theirs):+.2f} points"
        )


def by_hand(grey: Grey) -> Grey:
    """Fit light ink on black into 20x20 by area resampling, and centre it by mass: the convention, and no more."""
    rows, columns = np.flatnonzero(grey.any(axis=1)), np.flatnonzero(grey.any(axis=0))
    ink = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = DIGIT_SIZE / max(ink.shape)
    size = (max(1, round(ink.shape[1] * scale)), max(1, round(ink.shape[0] * scale)))
    return centred(cv2.resize(ink, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


def png(grey: Grey) -> bytes:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


def told(seconds: Sequence[float]) -> str:
    median = statistics.median(seconds)
    return f"{median * 1e3:.1f} ms" if median > 1e-3 else f"{median * 1e6:.0f} µs"


def costs(held_out: Digits) -> None:
    """What decoding and normalising take of one core, without the network."""
    generator = np.random.default_rng(SEED)
    digit = held_out.images[0].numpy()

    def page(width: int, height: int, kind: str) -> bytes:
        size = height // 2
        ink = cv2.resize(digit.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 255) / 255
        paper = np.full((height, width, 3), 225, np.float32) * np.linspace(1, 0.7, width)[None, :, None]
        paper[height // 4 : height // 4 + size, width // 3 : width // 3 + size] *= 1 - 0.8 * ink[..., None]
        paper += generator.normal(0, 2, paper.shape)
        file = io.BytesIO()
        Image.fromarray(paper.clip(0, 255).astype(np.uint8)).save(file, kind, quality=85)
        return file.getvalue()

    files = {
        "28x28 PNG": (png(digit), 500),
        "640x480 JPEG": (page(640, 480, "JPEG"), 10),
        "640x480 PNG in colour": (page(640, 480, "PNG"), 10),
        "12 MP JPEG": (page(4000, 3000, "JPEG"), 3),
    }
    for name, (file, repeats) in files.items():
        print(f"{name}: {told([clocked(partial(prepare, file, MAX_PIXELS), repeats) for _ in range(9)])}")


def clocked(work: Callable[[], object], repeats: int) -> float:
    started = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - started) / repeats


def contact_sheet(misread: Sequence[Misread], path: Path) -> None:
    """Draw pictures that were misread beside what the network saw of them."""
    width, height, across = 250, 132, 5
    sheet = Image.new("RGB", (width * across, height * -(-len(misread) // across)), "white")
    for index, case in enumerate(misread):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(case.photo.data)))
        image.thumbnail((124, 108))
        left, top = index % across * width, index // across * height
        sheet.paste(image, (left + 2, top + 2))
        sheet.paste(Image.fromarray(case.seen).resize((108, 108), Image.Resampling.NEAREST), (left + 132, top + 2))
        ImageDraw.Draw(sheet).text((left + 4, top + 114), case.told, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    print(f"Wrote {path}: {len(misread)} misread, on paper and as the network saw them.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="pictures of one digit; a third as many numbers [1000]")
    parser.add_argument("--sheet", type=Path, help="draw the first misread ones on a contact sheet")
    parser.add_argument("--most", type=int, default=10, help="of them on the sheet [10]")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    model, data_dir = Model.released(), Path(os.environ.get("DIGITS_DATA_DIR", "data"))
    _, held_out = mnist.hold_out(mnist.load(data_dir, "train"), 5_000)
    print(f"{model.folder.manifest.id}, on digits that it was not trained on, laid on paper by benchmarks/paper.py")
    misread = singles(model, held_out, arguments.count)
    some = max(1, arguments.count // 3)
    numbers(model, held_out, some, "apart")
    numbers(model, held_out, some, "one pair touching", touching=True)
    numbers(model, held_out, some, "in the boxes of a form", boxed=True)
    elsewhere(model, data_dir, held_out)
    print("one core's time, decoding included:")
    costs(held_out)
    if arguments.sheet:
        contact_sheet(misread[: arguments.most], arguments.sheet)


if __name__ == "__main__":
    main()
