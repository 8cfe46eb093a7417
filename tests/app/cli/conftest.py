"""What the tests of ``digitserve predict`` share: a folder of pictures, and the output for it."""

from pathlib import Path

import numpy as np
import pytest

from tests.app.cli.reading import Digits
from tests.support.pictures import png
from tests.support.running import Server, run_main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Path:
    """A folder with 300 pictures, three of which cannot be read."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(300):
        _, image = digits[number % 20]
        file = folder / f"{number:03}.png"
        file.write_bytes(png(255 - image if number % 3 else np.roll(image, number % 5 - 2, axis=1)))
    (folder / "100.png").write_bytes(b"no picture")
    (folder / "101.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "102.png").unlink()
    (folder / "102.png").symlink_to("nowhere")
    (folder / "299.png").write_bytes(png(np.zeros((28, 28), np.uint8)))
    return folder


@pytest.fixture(scope="module")
def complete(folder: Path, server: Server) -> dict[str, bytes]:
    """The output of a run without any fault, by format."""
    formats = ("csv", "json")
    return {
        name: run_main("predict", "--url", server.url, f"--{name}", str(folder)).stdout.encode() for name in formats
    }
