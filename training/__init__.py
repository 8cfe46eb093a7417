"""Trains, exports and measures the models that the service serves. The service never imports this package."""

import app  # noqa: F401  # turns off ONNX Runtime's telemetry before any module here can import it
