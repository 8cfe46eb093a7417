"""digitserve: a REST service that reads handwritten digits."""

import os

__version__ = "0.1.0"

# ONNX Runtime's Linux builds send usage events to their maker and leave an identifier in the home directory, unless
# told otherwise before they are first imported (its Privacy.md). Nothing of this service calls anywhere.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
