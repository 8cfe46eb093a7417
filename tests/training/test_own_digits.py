"""A person's pictures are read from one folder per digit, as the service would read them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.pictures import Grey, encode, heic, png, tiff
from tests.support.small_scans import draw_scan
from training import finetune
from training.data.mnist import Digits
from training.data.populations import HeldOut, join
from training.errors import DataError
from training.finetune import hold_out_own, mix, read_folder, take_some


@pytest.fixture
def folder(digits: list[tuple[int, Grey]], tmp_path: Path) -> Path:
    """Six pictures of each digit, dark on light and five times as large as MNIST's."""
    for index, (digit, image) in enumerate(digits * 3):
        (tmp_path / "own" / str(digit)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / str(digit) / f"{index}.png").write_bytes(png(enlarge(image)))
    return tmp_path / "own"


def enlarge(image: Grey) -> Grey:
    return 255 - np.kron(image, np.ones((5, 5), np.uint8))


def test_pictures_of_any_size_are_brought_to_the_convention(folder: Path) -> None:
    """Each picture becomes 28x28, light on black, in its class."""
    own = read_folder(folder)
    assert (own.digits.images.shape, own.digits.images.dtype) == ((60, 28, 28), torch.uint8)
    assert torch.bincount(own.digits.labels).tolist() == [6] * 10
    assert own.digits.images[:, 0].float().mean() < 10
    assert own.skipped == []


def write_seven_folder(folder: Path) -> None:
    (folder / "seven").mkdir()
    Image.new("L", (28, 28)).save(folder / "seven" / "a.png")


def remove_two_of_each(folder: Path) -> None:
    for digit in "0123456789":
        for path in sorted((folder / digit).iterdir())[:2]:
            path.unlink()


def break_two_of_each(folder: Path) -> None:
    for digit in "0123456789":
        for path in sorted((folder / digit).iterdir())[:2]:
            path.rename(path.with_name(f"broken-{path.name}")).write_bytes(b"no image")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (write_seven_folder, r"named 0 to 9\. Unknown: seven\."),
        (remove_two_of_each, "there are too few pictures. At least 5 of a digit are needed"),
        (break_two_of_each, r"too few pictures(.|\n)*7/broken-\d+\.png: (.|\n)*7/broken-\d+\.png: "),
    ],
)
def test_an_unusable_folder_is_refused_with_the_reason(
    change: Callable[[Path], None], message: str, folder: Path
) -> None:
    """The error names an unknown folder, says that there are too few pictures, and names those that cannot be read."""
    change(folder)
    with pytest.raises(DataError, match=message):
        read_folder(folder)


@pytest.mark.parametrize("name", ["own/7", "missing", "a.png"])
def test_what_is_no_folder_of_digits_is_refused(name: str, folder: Path) -> None:
    """A folder of pictures, a folder that does not exist and a file: the error says what is expected."""
    (folder.parent / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="must contain one folder per digit, named 0 to 9"):
        read_folder(folder.parent / name)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no image", ""),
        (png(draw_scan("")), "it shows nothing"),
        (png(draw_scan("17")), "it shows several digits"),
    ],
    ids=["broken", "blank", "two digits"],
)
def test_an_unusable_picture_is_skipped_and_named(data: bytes, reason: str, folder: Path) -> None:
    """The other pictures are read. The reason is there to be shown."""
    (folder / "7" / "x.png").write_bytes(data)
    own = read_folder(folder)
    assert len(own.digits) == 60
    (skipped,) = own.skipped
    assert skipped.startswith(f"{folder / '7' / 'x.png'}: {reason}")
    assert len(skipped) > len(f"{folder / '7' / 'x.png'}: ")


def test_hidden_files_and_other_files_are_ignored(folder: Path) -> None:
    """macOS puts ``._a.png`` beside pictures, and ``.DS_Store`` into folders. They are not even mentioned."""
    for name in (".DS_Store", "notes.txt", "7/._a.png", "7/.DS_Store", "7/notes.txt", ".git/a.png", ".9/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no image")
    own = read_folder(folder)
    assert (len(own.digits), own.skipped) == (60, [])


def test_folders_in_a_digit_s_folder_are_read(folder: Path) -> None:
    """Pictures may be sorted further, for example by the day that they were taken."""
    (folder / "7" / "monday").mkdir()
    for path in list((folder / "7").glob("*.png")):
        path.rename(folder / "7" / "monday" / path.name)
    assert torch.bincount(read_folder(folder).digits.labels).tolist() == [6] * 10


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        ("gif", lambda image: encode(image, "GIF")),
        ("JPG", lambda image: encode(image, "JPEG")),
        ("bmp", lambda image: encode(image, "BMP")),
        ("webp", lambda image: encode(image, "WEBP")),
        ("tiff", tiff),
        ("heic", lambda image: heic(image.convert("RGB"))),
    ],
)
def test_every_format_that_the_service_takes_is_read(
    suffix: str, write: Callable[[Image.Image], bytes], seven: Grey, tmp_path: Path
) -> None:
    """TIFF and HEIC need the extra ``heic``, as in the service."""
    (tmp_path / "7").mkdir()
    for number in range(5):
        (tmp_path / "7" / f"{number}.{suffix}").write_bytes(write(Image.fromarray(enlarge(seven))))
    own = read_folder(tmp_path)
    assert (own.digits.labels.tolist(), own.skipped) == ([7] * 5, [])


def test_held_out_digits_are_not_trained_on(small_parts: tuple[Digits, HeldOut]) -> None:
    """A fifth of a person's digits is held out, of each class. Each digit is on one side of the split."""
    own = small_parts[1].digits
    kept, held = hold_out_own(own)
    assert (len(kept), torch.bincount(held.labels).tolist()) == (160, [4] * 10)
    pictures = {image.numpy().tobytes() for image in own.images}
    sides = [{image.numpy().tobytes() for image in side.images} for side in (kept, held)]
    assert sides[0] | sides[1] == pictures
    assert not sides[0] & sides[1]


def test_a_rare_digit_is_only_trained_on(small_parts: tuple[Digits, HeldOut]) -> None:
    """A few corrections of one digit are not wasted on measuring."""
    own = small_parts[1].digits
    few = join(own.take((own.labels == 3).nonzero().squeeze(1)[:2]), own.take((own.labels == 5).nonzero().squeeze(1)))
    kept, held = hold_out_own(few)
    assert torch.bincount(kept.labels, minlength=10).tolist() == [0, 0, 0, 2, 0, 16, 0, 0, 0, 0]
    assert torch.bincount(held.labels, minlength=10).tolist() == [0, 0, 0, 0, 0, 4, 0, 0, 0, 0]


def test_an_epoch_has_as_many_of_a_person_s_digits_as_known_ones(
    small_parts: tuple[Digits, HeldOut], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's digits are repeated, and of the known ones only some are used. Their order is random, and fixed."""
    known, own = small_parts[0], hold_out_own(small_parts[1].digits)[0]
    names = {image.numpy().tobytes() for image in own.images}

    def find_own(digits: Digits) -> list[bool]:
        return [image.numpy().tobytes() in names for image in digits.images]

    mixed = mix(own, known)
    assert (len(mixed), sum(find_own(mixed))) == (1_600, 800)
    assert 350 < sum(find_own(mixed)[:800]) < 450
    assert torch.equal(mix(own, known).images, mixed.images)
    monkeypatch.setattr(finetune, "KNOWN_PER_EPOCH", 100)
    mixed = mix(own, known)
    assert (len(mixed), sum(find_own(mixed))) == (260, 160)  # none of the person's digits is left out


def test_some_digits_are_at_most_all(small_parts: tuple[Digits, HeldOut]) -> None:
    """Asked for more than there are, all are taken, each once."""
    own = small_parts[1].digits
    assert len(take_some(own, 30)) == 30
    assert torch.bincount(take_some(own, 9_000).labels).tolist() == torch.bincount(own.labels).tolist()
