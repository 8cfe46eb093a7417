"""Files that are not pictures, broken files, bombs and unusual files: each gets its answer and does no harm."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.heic_boxes import Item, code, grid, make_heic, size_property
from tests.support.hostile import SECRET, check_refusal, post, talk, unharmed
from tests.support.pictures import Grey, chunk, encode, png, tiff, with_chunks, with_scans, with_segments
from tests.support.running import ROOT, Server, clean_environment, running
from tests.support.tiff_tags import grey_tags, make_tiff, tile_tags

BLANK = Image.new("L", (28, 28))  # for files that are refused whatever they show
BLACK = np.zeros((28, 28), np.uint8)
A4_AT_600_DPI = 4_960, 7_016


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server for these tests alone, because they measure its memory. Its deadline suits a busy machine."""
    with running(DIGITS_DEADLINE_MS="20000") as server:
        yield server


def sized(width: int, height: int) -> bytes:
    """Return a valid PNG of one colour."""
    return encode(Image.new("L", (width, height)))


def header_alone(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def run_length(width: int, height: int) -> bytes:
    """Return a BMP of a kilobyte that skips all its pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 4, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1082, 0, 0, 1078) + header + bytes(1024) + b"\0\2\0\xff"


def fits() -> bytes:
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2"]
    cards += ["NAXIS1  =                   28", "NAXIS2  =                   28", "END"]
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(2880)


def psd() -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, 28, 28, 8, 1) + bytes(12) + b"\0\0" + bytes(784)


def shared_tile() -> bytes:
    """Return a HEIC picture of 28x28 pixels: a grid of 200x200 tiles, all of which are the same square."""
    tile = code(1_024)
    items = [Item(b"grid", grid(200, 200, 28, 28), [3]), Item(b"hvc1", tile.data, [1, 2])]
    properties = [tile.configuration, size_property(1_024, 1_024), size_property(28, 28)]
    return make_heic(items, properties, [(b"dimg", 1, [2] * 40_000)])


def shared_metadata() -> bytes:
    """Return a HEIC file of 9 MB. All of its 900 pictures have the same metadata."""
    picture = code(64)
    items = [*[Item(b"hvc1", picture.data, [1, 2])] * 900, Item(b"Exif", SECRET * 500_000)]
    references = [(b"cdsc", 901, list(range(1, 901)))]
    return make_heic(items, [picture.configuration, size_property(64, 64)], references)


def huge_tile() -> bytes:
    """Return a TIFF of 28x28 pixels in the corner of a tile of 30,000 x 30,000."""
    tile = zlib.compress(bytes(9 * 10**8), 1)
    return make_tiff(tile_tags(28, 30_000, len(tile)), tile)


def shared_strip() -> bytes:
    """Return a TIFF of 9 MB. Each row of its pixels is a strip that names all of them."""
    return make_tiff(grey_tags(28, 50_000, 8, 50_000, 9_000_000), SECRET * 500_000)


# Formats that Pillow can open and that we do not accept: their decoders have had security holes, run other programs or
# read other files.
FOREIGN: dict[str, Callable[[], bytes]] = {
    "EPS": lambda: encode(BLANK, "EPS"),
    "PSD": psd,
    "FITS": fits,
    "JPEG 2000": lambda: encode(BLANK, "JPEG2000"),
    "ICO": lambda: encode(BLANK, "ICO"),
    "PPM": lambda: encode(BLANK, "PPM"),
    "TGA": lambda: encode(BLANK, "TGA"),
}


@dataclass(frozen=True)
class Case:
    """A file, and how it must be refused."""

    file: Callable[[], bytes]
    slug: str
    status: int = 422


REFUSED = {
    **{f"a {name} file": Case(make, "unsupported-media", 415) for name, make in FOREIGN.items()},
    "a PNG of 50,000 x 50,000": Case(lambda: header_alone(50_000, 50_000), "image-size"),
    "a PNG of 2^31 x 2^31": Case(lambda: header_alone(2**31 - 1, 2**31 - 1), "image-size"),
    "a PNG of no width": Case(lambda: header_alone(0, 28), "broken-image"),
    "a PNG one row over the limit": Case(lambda: sized(8_000, 5_001), "image-size"),
    "a text that inflates to 100 MB": Case(
        lambda: with_chunks(BLACK, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))), "broken-image"
    ),
    "9,000 texts of a megabyte": Case(
        lambda: with_chunks(BLACK, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 9_000), "broken-image"
    ),
    "9,000 colour profiles of a megabyte": Case(
        lambda: with_chunks(BLACK, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**6))) * 9_000), "broken-image"
    ),
    "800,000 chunks": Case(lambda: with_chunks(BLACK, chunk(b"teSt", b"") * 800_000), "broken-image"),
    "a chunk longer than the file": Case(lambda: with_chunks(BLACK, b"\x7f\xff\xff\xfftEXt" + SECRET), "broken-image"),
    "200,000 scans": Case(lambda: with_scans(BLACK, 200_000), "broken-image"),
    "490,000 pieces of EXIF": Case(
        lambda: with_segments(BLACK, b"\xff\xe1\0\x12Exif\0\0" + b"x" * 10, 490_000), "broken-image"
    ),
    "a run-length BMP of 25 megapixels": Case(lambda: run_length(25_000, 1_000), "image-size"),
    "a BMP of no bits": Case(lambda: encode(BLANK, "BMP").replace(b"\x01\0\x08\0", b"\x01\0\0\0"), "broken-image"),
    "a GIF of comments": Case(lambda: encode(BLANK, "GIF")[:13] + b"\x21\xfe\x01a\0" * 1_500_000, "broken-image"),
    "a WebP of nothing": Case(lambda: b"RIFF\xff\xff\xff\x7fWEBPVP8L" + SECRET, "broken-image"),
    "a PNG's beginning": Case(lambda: b"\x89PNG\r\n\x1a\n" + SECRET, "broken-image"),
    "a JPEG's beginning": Case(lambda: b"\xff\xd8\xff\xe0" + SECRET, "broken-image"),
}


REFUSED_BY_THE_EXTRA = {
    "a HEIC picture whose 40,000 tiles are one": Case(shared_tile, "image-size"),
    "a HEIC file with the same metadata 900 times": Case(shared_metadata, "broken-image"),
    "a TIFF tile of 900 megapixels": Case(huge_tile, "broken-image"),
    "50,000 TIFF strips of the same 9 MB": Case(shared_strip, "broken-image"),
    "a HEIC file's beginning": Case(lambda: b"\0\0\0\x18ftypheic" + SECRET, "broken-image"),
    "a TIFF's beginning": Case(lambda: b"II*\0" + SECRET, "broken-image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_file_gets_its_problem_and_does_no_harm(name: str, server: Server, seven: Grey) -> None:
    """Sent as image/png, each file gets the problem of what it really is, and needs little memory."""
    check_case(REFUSED[name], server, seven)


@pytest.mark.parametrize("name", REFUSED_BY_THE_EXTRA)
@pytest.mark.usefixtures("extra_install")
def test_a_hostile_heic_or_tiff_file_gets_its_problem_and_does_no_harm(name: str, server: Server, seven: Grey) -> None:
    """The same holds for the formats that need the extra."""
    check_case(REFUSED_BY_THE_EXTRA[name], server, seven)


def check_case(case: Case, server: Server, seven: Grey) -> None:
    file = case.file()
    with unharmed(server, seven, growth=60 + 3 * len(file) / 1e6):
        check_refusal(talk(server, post("/predict", "image/png", file)), case.status, case.slug)


def test_decoders_of_other_types_never_run(tmp_path: Path) -> None:
    """Pillow can open each of these files. After we have refused all of them, it has not imported their decoders."""
    for name, make in FOREIGN.items():
        (tmp_path / name).write_bytes(make())
        with Image.open(tmp_path / name) as image:
            assert image.format
    code = """
import sys, pathlib
from app.errors import UnsupportedMediaError
from app.imaging.decode import decode
for file in pathlib.Path(sys.argv[1]).iterdir():
    try:
        decode(file.read_bytes(), 1000)
    except UnsupportedMediaError:
        print(file.name)
print(*sorted(name for name in sys.modules if name.startswith("PIL.") and name.endswith("Plugin")), file=sys.stderr)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == sorted(FOREIGN)
    assert set(done.stderr.split()) <= {f"PIL.{name}ImagePlugin" for name in ("Bmp", "Gif", "Jpeg", "Ppm", "Png")}


def looping_exif() -> bytes:
    """Return two EXIF directories, each of which names the other as its next one and as its own EXIF."""
    loop = b"MM\0*\0\0\0\x08"
    for here, other in ((8, 38), (38, 8)):
        assert len(loop) == here
        entries = struct.pack(">HHIHH", 0x0112, 3, 1, 1, 0) + struct.pack(">HHII", 0x8769, 4, 1, other)
        loop += struct.pack(">H", 2) + entries + struct.pack(">I", other)
    return b"Exif\0\0" + loop


def stereo(image: Image.Image) -> bytes:
    return encode(image, "MPO", save_all=True, append_images=[Image.new("L", image.size, 255)], quality=95)


# Unusual files that are valid pictures.
READ: dict[str, Callable[[Image.Image], bytes]] = {
    "an APNG": lambda image: encode(image, save_all=True, append_images=[Image.new("L", image.size, 255)]),
    "an MPO": stereo,
    "an animated WebP": lambda image: encode(
        image.convert("RGB"), "WEBP", save_all=True, append_images=[Image.new("RGB", image.size)], lossless=True
    ),
    "a JPEG of looping EXIF": lambda image: encode(image, "JPEG", exif=looping_exif(), quality=95),
    "a PNG of looping EXIF": lambda image: encode(image, exif=looping_exif()),
    "an interlaced PNG": lambda image: interlaced(np.asarray(image)),
    "a PNG with 9 MB behind its end": lambda image: encode(image) + SECRET * 500_000,
    "a PNG that goes on for 100 MB": lambda image: endless(np.asarray(image)),
    "a PNG and a PDF in one": lambda image: encode(image) + b"%PDF-1.7\n",
    "a digit on an A4 page at 600 dpi": lambda image: encode(image.resize(A4_AT_600_DPI, Image.Resampling.NEAREST)),
    "a digit on such a transparent page": lambda image: encode(
        image.resize(A4_AT_600_DPI, Image.Resampling.NEAREST).convert("LA")
    ),
    "a fax of such a page": lambda image: tiff(
        image.resize(A4_AT_600_DPI).point(lambda level: 255 * (level > 127)).convert("1"), compression="group4"
    ),
}


def rows(grey: Grey) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in grey)


def interlaced(grey: Grey) -> bytes:
    """Return an interlaced PNG: Adam7 writes seven passes one after the other."""
    passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    parts = [rows(np.ascontiguousarray(grey[top::down, left::right])) for top, down, left, right in passes]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *grey.shape[::-1], 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"".join(parts))) + chunk(b"IEND", b"")


def endless(grey: Grey) -> bytes:
    """Return a PNG whose stream inflates to far more than its rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *grey.shape[::-1], 8, 0, 0, 0, 0))
    stream = zlib.compress(rows(grey) + bytes(10**8))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", READ)
def test_an_unusual_file_is_read(name: str, server: Server, seven: Grey) -> None:
    """The answer is the digit in its first picture, and the server is unharmed."""
    file = READ[name](Image.fromarray(seven))
    with unharmed(server, seven, growth=400):
        reply = talk(server, post("/predict", "image/png", file))
    assert (reply.status, reply.json()["digit"]) == (200, 7)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_file_does_no_harm(kind: str, server: Server, seven: Grey) -> None:
    """Truncated at any byte, a file gets the digit or a problem, and the server is unharmed."""
    complete = encode(Image.fromarray(seven), kind)
    seen = set()
    with unharmed(server, seven, growth=60), httpx.Client(base_url=server.url) as client:
        for length in range(len(complete)):
            answer = client.post("/predict", content=complete[:length], headers={"Content-Type": "image/png"})
            seen.add(answer.status_code)
            if answer.status_code == 200:
                assert answer.json()["digit"] == 7
    assert {400, 415, 422} <= seen <= {200, 400, 415, 422}


@pytest.mark.slow
def test_many_of_the_largest_pictures_at_once_stay_within_their_memory(server: Server, seven: Grey) -> None:
    """Of 64 pages at 600 dpi, in the mode that needs most memory, some are read and the others refused. A digit is read
    meanwhile."""
    large = encode(Image.fromarray(seven).resize(A4_AT_600_DPI, Image.Resampling.NEAREST).convert("LA"))
    ask = post("/predict", "image/png", large)
    all_at_once = 100 * 6  # MB: DIGITS_MAX_INFLIGHT_PIXELS at 6 bytes per pixel
    with unharmed(server, seven, growth=all_at_once), ThreadPoolExecutor(64) as clients:
        replies = [clients.submit(talk, server, ask) for _ in range(64)]
        small = talk(server, post("/predict", "image/png", png(seven)))
        statuses = [reply.result().status for reply in replies]
    assert small.json()["digit"] == 7
    assert {200, 503} <= set(statuses) <= {200, 503, 504}


def test_the_foreign_files_are_valid() -> None:
    """The files above are refused because of their type: Pillow can decode them."""
    for name in ("PSD", "FITS", "JPEG 2000", "PPM"):
        with Image.open(io.BytesIO(FOREIGN[name]())) as image:
            image.load()
