"""Read a folder of meter photographs into a CSV file. Its last column says which ones somebody has to check, and why.

python meters.py meters/ readings.csv http://localhost:8000
"""

import csv
import io
import sys
from pathlib import Path

import httpx
from PIL import Image, ImageOps

DISPLAY = (170, 150, 470, 230)  # left, top, right, bottom: the camera is fixed, so the display is always here
WHEELS = 5  # digits on the display
MIN_CONFIDENCE = 0.9


def cut_display(file: Path) -> bytes:
    """Cut out the display, as a PNG file. The rest of a meter has writing and edges that are no digits."""
    cut = io.BytesIO()
    with Image.open(file) as photograph:
        ImageOps.exif_transpose(photograph).crop(DISPLAY).save(cut, "PNG")
    return cut.getvalue()


def find_doubt(answer: dict) -> str:
    """Return why somebody has to check a reading, or nothing."""
    if not answer["accepted"]:
        return answer["reason"]
    if len(answer["text"]) != WHEELS:
        return f"{len(answer['text'])} digits instead of {WHEELS}"
    return "low confidence" if answer["confidence"] < MIN_CONFIDENCE else ""


def main(folder: str, table: str, url: str) -> None:
    with httpx.Client(base_url=url) as client, Path(table).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "reading", "confidence", "check"])
        for photograph in sorted(Path(folder).glob("*.jpg")):
            response = client.post("/read", content=cut_display(photograph))
            answer = response.raise_for_status().json()
            reading = answer["text"].replace("\n", " ")  # what it took for several lines
            rows.writerow([photograph.name, reading, answer["confidence"], find_doubt(answer)])


if __name__ == "__main__":
    main(*sys.argv[1:])
