"""Formats: the first bytes of a file tell them apart, and what an install does not read is refused."""

import sys

import pytest

from app.errors import UnsupportedMediaError
from app.imaging.decode import decode
from app.imaging.formats import EXTRA_FORMATS, FORMATS, accepted_formats, detect_format
from tests.support.pictures import FILES, Grey

FOREIGN = [
    *(
        b"",
        b"x",
        b"%PDF-1.7",
        b"<svg/>",
        b"SIMPLE  =",
        b"RIFF\0\0\0\0WAVE",
        b"8BPS",
        b"II+\0",
        b"MM\0+",
        b"II*",
        b"MM*\0",
    ),
    *(b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypmp42", b"\0\0\0\x18ftyp", b"ftypheic"),
]
SIGNATURES = {
    **{b"\0\0\0\x18ftyp" + brand: "HEIC" for brand in (b"heic", b"heix", b"mif1", b"msf1", b"hevc")},
    **{b"II*\0": "TIFF", b"MM\0*": "TIFF"},
}


@pytest.fixture
def base_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the package that the extra installs."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


def test_every_format_is_detected(seven: Grey) -> None:
    """The first bytes tell each format, in every kind of file."""
    seen = set()
    for name, make in FILES.items():
        assert detect_format(make(seven)) == name.split()[0].upper()
        seen.add(name.split()[0].upper())
    assert seen == set(FORMATS)


@pytest.mark.parametrize("data", SIGNATURES)
@pytest.mark.usefixtures("extra_install")
def test_every_brand_and_byte_order_is_detected(data: bytes) -> None:
    """A HEIC file may have one of several brands, and a TIFF file one of two byte orders."""
    assert detect_format(data) == SIGNATURES[data]


@pytest.mark.parametrize("data", FOREIGN)
@pytest.mark.usefixtures("extra_install")
def test_other_types_are_refused_by_their_first_bytes(data: bytes) -> None:
    """No decoder runs on anything but our formats."""
    with pytest.raises(UnsupportedMediaError, match=r"PNG, JPEG, WEBP, BMP, GIF, HEIC, TIFF\."):
        decode(data, 1_000)


@pytest.mark.usefixtures("base_install")
def test_the_base_install_lists_only_what_it_reads() -> None:
    """Without the extra, the message for any other file does not promise HEIC or TIFF."""
    assert accepted_formats() == tuple(name for name in FORMATS if name not in EXTRA_FORMATS)
    with pytest.raises(UnsupportedMediaError, match=r"PNG, JPEG, WEBP, BMP, GIF\.$"):
        decode(b"%PDF-1.7", 1_000)


@pytest.mark.parametrize("data", SIGNATURES)
@pytest.mark.usefixtures("base_install")
def test_the_base_install_says_how_to_add_heic_and_tiff(data: bytes) -> None:
    """Without the extra, the message names the format and the extra, and the exception has the extra's name."""
    with pytest.raises(UnsupportedMediaError, match=rf"{SIGNATURES[data]} files, it needs the extra heic") as caught:
        decode(data, 1_000)
    assert caught.value.extra == "heic"
