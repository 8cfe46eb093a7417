"""Finding image files in files and folders."""

import os
from pathlib import Path

import pytest

from app.cli.image_files import ImageFile, find_image_files


def find_names(*paths: Path) -> list[str]:
    return [image.file for image in find_image_files(paths)]


def touch(*paths: Path) -> list[str]:
    """Create empty files, and return their paths."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [str(path) for path in paths]


def test_a_folder_means_all_its_pictures_by_name(tmp_path: Path) -> None:
    """A subfolder's pictures come at the place of its name. Upper-case suffixes count; other files do not."""
    names = "1.png", "10.JPG", "2.webp", "3.HEIC", "b/x.gif", "b/y/z.bmp", "c.jpeg", "d.heif", "e.tif", "f.tiff"
    expected = touch(*(tmp_path / name for name in names))
    touch(*(tmp_path / name for name in ("labels.csv", "b/notes.txt", ".hidden.png", ".git/a.png", "._1.png")))
    assert find_names(tmp_path) == expected


def test_named_files_are_returned_whatever_their_names(tmp_path: Path) -> None:
    """They keep their order and repetitions, even if they do not exist."""
    one, other = tmp_path / "digit", tmp_path / ".hidden.png"
    touch(one)
    assert find_names(other, one, other) == [str(other), str(one), str(other)]


def test_links_to_files_are_followed_but_not_links_to_folders(tmp_path: Path) -> None:
    """A broken link counts as a picture, so that it is reported. A link to a folder may form a circle."""
    folder = tmp_path / "folder"
    touch(folder / "a.png")
    (folder / "b.png").symlink_to("a.png")
    (folder / "c.png").symlink_to("nothing")
    (folder / "d").symlink_to(folder)
    (tmp_path / "link").symlink_to(folder)
    assert find_names(folder) == [str(folder / name) for name in ("a.png", "b.png", "c.png")]
    assert find_names(tmp_path / "link") == [str(tmp_path / "link" / name) for name in ("a.png", "b.png", "c.png")]


def test_a_folder_without_pictures_is_reported(tmp_path: Path) -> None:
    """Otherwise a run with a mistyped name would look like a success."""
    touch(tmp_path / "notes.txt")
    (image,) = find_image_files([tmp_path])
    assert image.file == str(tmp_path)
    assert image.error
    assert "no picture" in image.error


def test_an_unreadable_folder_is_reported_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other files are found. Here a path is too long for the system, because root may open every folder."""
    expected = touch(tmp_path / "a.png", tmp_path / "c.png")
    monkeypatch.chdir(tmp_path)
    for name in ["b", *["deep" * 60] * 20]:
        Path(name).mkdir()
        os.chdir(name)
    images = list(find_image_files([tmp_path]))
    assert [images[0], images[-1]] == [ImageFile(file) for file in expected]
    assert [error for _, error in images[1:-1]] == ["File name too long"]
