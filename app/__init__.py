"""digitserve: a REST service that reads handwritten digits."""

import os

__version__ = "0.1.0"

# No telemetry. ONNX Runtime's Linux builds send usage events to Microsoft and store an identifier in the home directory
# (see its Privacy.md), unless this variable is set before the first import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
