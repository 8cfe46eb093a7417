"""What schemathesis sends for a picture: real ones in every format, parts of them, and any bytes."""

import schemathesis
from hypothesis import strategies as st

from benchmarks.mutations import make_files

WHOLE = st.sampled_from(make_files())
CUT = st.builds(lambda file, length: file[:length], WHOLE, st.integers(0, 400))

for name in ("png", "jpeg", "webp", "bmp", "gif", "heic", "tiff"):
    schemathesis.openapi.media_type(f"image/{name}", WHOLE | CUT | st.binary())
