"""Read a form with boxes: cut out every box, send all of them in one request, and print the fields.

python form.py form.png http://localhost:8000
"""

import io
import sys
from collections.abc import Iterator

import httpx
from PIL import Image

BOX = 56  # pixels from one box to the next
FRAME = 4  # pixels of the printed frame, which are cut off
FIELDS = {"customer": (200, 90, 5), "date": (200, 180, 6), "reading": (200, 270, 5)}  # left, top, number of boxes


def cut_boxes(form: Image.Image) -> Iterator[bytes]:
    """Cut out the inside of every box of every field, as PNG files."""
    for left, top, count in FIELDS.values():
        for x in range(left, left + count * BOX, BOX):
            file = io.BytesIO()
            form.crop((x + FRAME, top + FRAME, x + BOX - FRAME, top + BOX - FRAME)).save(file, "PNG")
            yield file.getvalue()


def main(name: str, url: str) -> None:
    with Image.open(name) as form:
        files = [("file", ("box.png", box)) for box in cut_boxes(form)]
    response = httpx.post(f"{url}/predict/batch", files=files)
    answers = iter(response.raise_for_status().json()["predictions"])
    for field, (_, _, count) in FIELDS.items():
        boxes = [next(answers) for _ in range(count)]
        text = "".join(str(box["digit"]) if box["accepted"] else "?" for box in boxes)
        print(f"{field:<10} {text}{'  (check it)' if '?' in text else ''}")


if __name__ == "__main__":
    main(*sys.argv[1:])
