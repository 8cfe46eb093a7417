"""Makes, measures and describes the models that the service serves. The service itself never imports this."""

import app  # noqa: F401  # turns ONNX Runtime's telemetry off before anything here can import it
