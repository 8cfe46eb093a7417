"""Writes the released model's golden digits as PNG files: a few real digits to try.

python -m tests.support.sample FOLDER
"""

import sys
from pathlib import Path

from app.inference import model_folder
from app.settings import released_model
from tests.support.pictures import png


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for index, golden in enumerate(model_folder.load(released_model()).manifest.golden):
        (folder / f"digit-{golden.digit}-{index}.png").write_bytes(png(golden.image))


if __name__ == "__main__":
    main()
