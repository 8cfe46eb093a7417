"""Files and folders -> picture files."""

import os
from pathlib import Path

import pytest

from app.cli.image_files import Found, find


def files(*paths: Path) -> list[str]:
    return [found.file for found in find(paths)]


def touch(*paths: Path) -> list[str]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [str(path) for path in paths]


def test_a_folder_is_all_pictures_in_it_by_name(tmp_path: Path) -> None:
    """Those of its folders have the place of the folder; capital suffixes count, and other files do not."""
    expected = touch(*(tmp_path / name for name in ("1.png", "10.JPG", "2.webp", "b/x.gif", "b/y/z.bmp", "c.jpeg")))
    touch(*(tmp_path / name for name in ("labels.csv", "b/notes.txt", ".hidden.png", ".git/a.png", "._1.png")))
    assert files(tmp_path) == expected


def test_what_is_named_is_found_whatever_it_is_called(tmp_path: Path) -> None:
    """In the order in which it was named, as often as it was named, even if it is not there."""
    one, other = tmp_path / "digit", tmp_path / ".hidden.png"
    touch(one)
    assert files(other, one, other) == [str(other), str(one), str(other)]


def test_links_are_followed_to_files_alone(tmp_path: Path) -> None:
    """One to a file is a picture, and so is one to nothing, which will be told of; one around in a circle is not."""
    folder = tmp_path / "folder"
    touch(folder / "a.png")
    (folder / "b.png").symlink_to("a.png")
    (folder / "c.png").symlink_to("nothing")
    (folder / "d").symlink_to(folder)
    (tmp_path / "link").symlink_to(folder)
    assert files(folder) == [str(folder / name) for name in ("a.png", "b.png", "c.png")]
    assert files(tmp_path / "link") == [str(tmp_path / "link" / name) for name in ("a.png", "b.png", "c.png")]


def test_a_folder_without_pictures_is_told(tmp_path: Path) -> None:
    """Lest a mistyped name pass for a run in which all went well."""
    touch(tmp_path / "notes.txt")
    (found,) = find([tmp_path])
    assert found.file == str(tmp_path)
    assert found.error
    assert "no picture" in found.error


def test_a_folder_that_cannot_be_looked_into_is_told_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one whose path is longer than the system takes, for root may look into everything; the others are found."""
    expected = touch(tmp_path / "a.png", tmp_path / "c.png")
    monkeypatch.chdir(tmp_path)
    for name in ["b", *["deep" * 60] * 20]:
        Path(name).mkdir()
        os.chdir(name)
    found = list(find([tmp_path]))
    assert [found[0], found[-1]] == [Found(file) for file in expected]
    assert [error for _, error in found[1:-1]] == ["File name too long"]
