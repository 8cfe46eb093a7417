"""Measure what an A4 page at 600 dpi costs: seconds, and the peak memory of the service above its idle memory.

    python -m benchmarks.page_memory [--kinds "colour PNG" "1-bit TIFF"] [--path /read]

A fresh service reads the page once, then eight times at once with the default limits. The page has digits on paper of
one colour. HEIC and TIFF need the extra heic.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pillow_heif
from PIL import Image

from benchmarks.mutations import encode
from tests.support.examples import make_examples
from tests.support.hostile import memory
from tests.support.running import running

A4_AT_600_DPI = 4_960, 7_016  # pixels
DIGIT_PX = 280
CLIENTS = 8
PAPER = 250
MEBIBYTE = 1.048576  # megabytes


def make_page() -> Image.Image:
    """Draw six rows of five sevens, dark on light."""
    seven = Image.fromarray(255 - make_examples()["7.png"]).resize((DIGIT_PX, DIGIT_PX), Image.Resampling.BICUBIC)
    page = np.full(A4_AT_600_DPI[::-1], PAPER, np.uint8)
    for top in range(600, 6_600, 1_000):
        for left in range(500, 2_750, 450):
            page[top : top + DIGIT_PX, left : left + DIGIT_PX] = np.minimum(np.asarray(seven), PAPER)
    return Image.fromarray(page)


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "grey PNG": lambda page: encode(page, "PNG", compress_level=1),
    "16-bit PNG": lambda page: encode(Image.fromarray(np.asarray(page).astype(np.uint16) * 257), "PNG"),
    "colour PNG": lambda page: encode(page.convert("RGB"), "PNG", compress_level=1),
    "transparent PNG": lambda page: encode(page.convert("RGBA"), "PNG", compress_level=1),
    "colour JPEG": lambda page: encode(page.convert("RGB"), "JPEG", quality=85),
    "1-bit TIFF": lambda page: encode(
        page.point(lambda level: 255 * (level > 127)).convert("1"), "TIFF", compression="group4"
    ),
    "colour TIFF": lambda page: encode(page.convert("RGB"), "TIFF", compression="tiff_lzw"),
    "colour HEIC": lambda page: encode(page.convert("RGB"), "HEIF", quality=60),
}


def measure(kind: str, path: str, page: Image.Image) -> None:
    """Start a service, send it one kind of page, and print what this takes."""
    file = KINDS[kind](page)
    with running(DIGITS_DEADLINE_MS="60000") as server, httpx.Client(base_url=server.url, timeout=120) as client:

        def post(_: int = 0) -> int:
            return client.post(path, files={"file": file}).status_code

        idle = memory(server.pid, "VmRSS") * MEBIBYTE
        started = time.perf_counter()
        status = post()
        seconds, once = time.perf_counter() - started, memory(server.pid, "VmHWM") * MEBIBYTE - idle
        with ThreadPoolExecutor(CLIENTS) as pool:
            statuses = Counter(pool.map(post, range(CLIENTS)))
        together = memory(server.pid, "VmHWM") * MEBIBYTE - idle
    print(
        f"{kind:16} {len(file) / 1e6:5.2f} MB  {status}  {seconds:5.2f} s  one {once:4.0f} MB  "
        f"{CLIENTS} at once {together:4.0f} MB {dict(statuses)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--path", choices=("/predict", "/read"), default="/read")
    arguments = parser.parse_args()
    pillow_heif.register_heif_opener()
    page = make_page()
    for kind in arguments.kinds:
        measure(kind, arguments.path, page)


if __name__ == "__main__":
    main()
