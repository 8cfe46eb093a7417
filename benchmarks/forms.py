"""Ways of taking one file out of a form, side by side: ours, and the parsers that could do it instead.

All are given the whole body, as ``app/upload.py`` has it, with a digit's PNG in it, and must find the same file. The
package ``multipart`` is measured where it is installed; nothing else here needs it.
"""

import io
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec

from PIL import Image

from app import bundle
from app.upload import files_alone, parse_form, take_image

BOUNDARY = b"d1g1t5"
ROUNDS, EACH = 9, 2_000


def by_package(body: bytes) -> bytes:
    """The package ``multipart``: its push parser, which hands out the data of each part as it comes."""
    import multipart

    found = bytearray()
    with multipart.PushMultipartParser(BOUNDARY) as parser:
        for event in parser.parse(body):
            if isinstance(event, bytearray | bytes):
                found += event
    return bytes(found)


def by_splitting(body: bytes) -> bytes:
    files = files_alone(BOUNDARY, body, most=1)
    assert files is not None
    return files[0]


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "split at the boundary (what serves)": by_splitting,
    "the same with content type and checks": lambda body: take_image(
        b"multipart/form-data; boundary=" + BOUNDARY, body
    ),
    "python-multipart, callbacks": lambda body: parse_form(BOUNDARY, body, most=1)[0],
    "multipart, push parser": by_package,
}


def main() -> None:
    file = io.BytesIO()
    Image.fromarray(bundle.load(bundle.released()).manifest.golden[0].image).save(file, "PNG")
    head = 'Content-Disposition: form-data; name="file"; filename="digit.png"\r\nContent-Type: image/png'
    body = b"--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (BOUNDARY, head.encode(), file.getvalue(), BOUNDARY)
    for name, way in WAYS.items():
        if way is by_package and not find_spec("multipart"):
            continue
        assert way(body) == file.getvalue(), name
        rounds = []
        for _ in range(ROUNDS):
            started = time.process_time()
            for _ in range(EACH):
                way(body)
            rounds.append((time.process_time() - started) / EACH * 1e6)
        print(f"{name:40}{statistics.median(rounds):8.1f} us")


if __name__ == "__main__":
    main()
