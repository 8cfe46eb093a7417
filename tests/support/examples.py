"""Writes the example digits of the front page, from the released model's golden digits.

python -m tests.support.examples
"""

import numpy as np

from app.http.routes.pages import STATIC
from app.inference import model_folder
from app.settings import released_model
from tests.support.pictures import Grey, png

NUMBER = (4, 0, 7, 1, 9)
STEP_PX = 22  # from one digit of the number to the next
FOLDER = STATIC / "examples"


def make_examples() -> dict[str, Grey]:
    """Return the pixels of each file: a golden digit of each class, and a number made of them.

    It is the second one of each class, because the first 7 has a speck beside it.
    """
    golden = model_folder.load(released_model()).manifest.golden
    images = {each.digit: each.image for each in golden}
    number = np.zeros((28, 28 + STEP_PX * (len(NUMBER) - 1)), np.uint8)
    for index, digit in enumerate(NUMBER):
        place = number[:, index * STEP_PX : index * STEP_PX + 28]
        np.maximum(place, images[digit], out=place)
    return {f"{digit}.png": image for digit, image in images.items()} | {"number.png": number}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, pixels in make_examples().items():
        (FOLDER / name).write_bytes(png(pixels))


if __name__ == "__main__":
    main()
