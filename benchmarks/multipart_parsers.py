"""Compare ways to take one file out of a multipart form: our splitter, and parsers that could replace it.

Each gets the whole body, as in ``app/http/multipart.py``, with the PNG of a digit in it, and must find the same file.
The package ``multipart`` is measured only if it is installed; nothing else here needs it.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from importlib import metadata

from PIL import Image

from app.http.image_upload import extract_image
from app.http.multipart import parse_files, split_files
from app.inference import model_folder
from app.settings import released_model

BOUNDARY = b"d1g1t5"
ROUNDS, PARSES_PER_ROUND = 9, 2_000


def parse_with_multipart(body: bytes) -> bytes:
    """Use the push parser of the package ``multipart``, which yields the data of each part as it arrives."""
    import multipart

    data = bytearray()
    with multipart.PushMultipartParser(BOUNDARY) as parser:
        for event in parser.parse(body):
            if isinstance(event, bytearray | bytes):
                data += event
    return bytes(data)


def split_at_boundary(body: bytes) -> bytes:
    """Use the splitter that serves plain forms."""
    files = split_files(BOUNDARY, body, max_files=1)
    assert files is not None
    return files[0]


def has_multipart() -> bool:
    """Return whether the package is installed. (python-multipart also installs a module of that name.)"""
    return any(metadata.distributions(name="multipart"))


PARSERS: dict[str, Callable[[bytes], bytes]] = {
    "split at the boundary (shipped)": split_at_boundary,
    "the same, with content type and checks": lambda body: extract_image(
        b"multipart/form-data; boundary=" + BOUNDARY, body
    ),
    "python-multipart, callbacks": lambda body: parse_files(BOUNDARY, body, max_files=1)[0],
    "multipart, push parser": parse_with_multipart,
}


def main() -> None:
    argparse.ArgumentParser(
        prog="python -m benchmarks.multipart_parsers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    file = io.BytesIO()
    Image.fromarray(model_folder.load(released_model()).manifest.golden[0].image).save(file, "PNG")
    head = 'Content-Disposition: form-data; name="file"; filename="digit.png"\r\nContent-Type: image/png'
    body = b"--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (BOUNDARY, head.encode(), file.getvalue(), BOUNDARY)
    for name, parse in PARSERS.items():
        if parse is parse_with_multipart and not has_multipart():
            continue
        assert parse(body) == file.getvalue(), name
        rounds = []
        for _ in range(ROUNDS):
            started = time.process_time()
            for _ in range(PARSES_PER_ROUND):
                parse(body)
            rounds.append((time.process_time() - started) / PARSES_PER_ROUND * 1e6)
        print(f"{name:40}{statistics.median(rounds):8.1f} µs")


if __name__ == "__main__":
    main()
