"""Finds the image files in a list of files and folders, always in the same order.

Names are sorted folder by folder, so only the names in one folder and in the folders around it are in memory. This
module does not look into the files.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

STANDARD_INPUT = "-"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".heic", ".heif", ".tif", ".tiff")


class ImageFile(NamedTuple):
    """An image file or standard input, or a folder with the reason why none of its files can be read."""

    file: str
    error: str | None = None


def find_image_files(paths: Iterable[Path]) -> Iterator[ImageFile]:
    """Find files: those in ``paths``, whatever their names, and all pictures in the folders in ``paths``."""
    for path in paths:
        if not path.is_dir():
            yield ImageFile(str(path))
            continue
        empty = True
        for image in scan_folder(str(path)):
            empty = False
            yield image
        if empty:
            yield ImageFile(str(path), f"This folder has no picture: no file that ends in {', '.join(SUFFIXES)}.")


def open_image(file: str) -> AbstractContextManager[BinaryIO]:
    """Open a file, or standard input, which stays open."""
    return nullcontext(sys.stdin.buffer) if file == STANDARD_INPUT else Path(file).open("rb")


def scan_folder(folder: str) -> Iterator[ImageFile]:
    """Find the pictures in a folder and its subfolders by their names.

    Hidden files are skipped: macOS puts files such as ``._a.png`` beside real pictures. Links to folders are skipped,
    because they may form a circle.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                (entry.name, is_folder)
                for entry in entries
                if not entry.name.startswith(".")
                and ((is_folder := entry.is_dir(follow_symlinks=False)) or is_picture(entry))
            )
    except OSError as error:
        yield ImageFile(folder, error.strerror)
        return
    for name, is_folder in names:
        path = str(Path(folder, name))
        if is_folder:
            yield from scan_folder(path)
        else:
            yield ImageFile(path)


def is_picture(entry: os.DirEntry[str]) -> bool:
    """Return whether the name is that of a picture.

    A broken link counts, so that it is reported. Pipes do not count, because they may never end.
    """
    return entry.name.lower().endswith(SUFFIXES) and (entry.is_file(follow_symlinks=False) or entry.is_symlink())
