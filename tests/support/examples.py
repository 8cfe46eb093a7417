"""The example digits of the front page, made of the released model's golden digits.

python -m tests.examples
"""

from pathlib import Path

import numpy as np

from app.settings import released_model
from app.inference import model_folder
from app.http.routes.pages import STATIC
from tests.support.pictures import Grey, png

NUMBER = (4, 0, 7, 1, 9)
STEP = 22  # pixels from one digit of the number to the next
FOLDER = STATIC / "examples"


def examples() -> dict[str, Grey]:
    """Each file's name and pixels: the first golden digit of each class, and a number made of the second ones."""
    golden = model_folder.load(released_model()).manifest.golden
    of = {digit: [each.image for each in golden if each.digit == digit] for digit in range(10)}
    number = np.zeros((28, 28 + STEP * (len(NUMBER) - 1)), np.uint8)
    for index, digit in enumerate(NUMBER):
        place = number[:, index * STEP : index * STEP + 28]
        np.maximum(place, of[digit][-1], out=place)
    return {f"{digit}.png": of[digit][0] for digit in of} | {"number.png": number}


def write(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, pixels in examples().items():
        (folder / name).write_bytes(png(pixels))


if __name__ == "__main__":
    write(FOLDER)
