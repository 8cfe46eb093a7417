"""Files and folders -> the picture files that they name, one after the other, in an order that stays the same.

Names are sorted folder by folder, so that no more than the names of one folder (and of those around it) are held.
Knows nothing of what is in a file.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


class Found(NamedTuple):
    """A file that was named, or that is in a folder that was; or a folder, and why nothing of it can be read."""

    file: str
    error: str | None = None


def find(paths: Iterable[Path]) -> Iterator[Found]:
    """Find the files: those that are named, whatever they are called, and all pictures in folders that are named."""
    for path in paths:
        if not path.is_dir():
            yield Found(str(path))
            continue
        empty = True
        for found in inside(str(path)):
            empty = False
            yield found
        if empty:
            yield Found(str(path), f"There is no picture in it: no file that ends in {', '.join(SUFFIXES)}.")


def inside(folder: str) -> Iterator[Found]:
    """Find the pictures in a folder, by their names, and in the folders in it.

    What is hidden is passed over: beside real pictures, macOS leaves files such as ``._a.png``. So are links to
    folders, which may lead around in a circle.
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
        yield Found(folder, error.strerror)
        return
    for name, is_folder in names:
        path = str(Path(folder, name))
        if is_folder:
            yield from inside(path)
        else:
            yield Found(path)


def is_picture(entry: os.DirEntry[str]) -> bool:
    """Tell by the name. A link that leads nowhere is one, so that it is told of; a pipe would have no end."""
    return entry.name.lower().endswith(SUFFIXES) and (entry.is_file(follow_symlinks=False) or entry.is_symlink())
