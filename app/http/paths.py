"""The paths of the service, for what handles a request before a route sees it."""

# Each path of a health check, with the body of its answer if all is well.
HEALTH_BODIES = {
    b"/livez": b'{"status":"ok"}',
    b"/readyz": b'{"status":"ok"}',
    b"/healthz": b'{"status":"ok"}',
    b"/v2/health/live": b'{"live":true}',
    b"/v2/health/ready": b'{"ready":true}',
}
HEALTH_PATHS = frozenset(path.decode() for path in HEALTH_BODIES)
LIVENESS_PATHS = frozenset({"/livez", "/v2/health/live"})  # the process is alive; the others: the service is ready
METRICS_PATHS = frozenset({"/metrics"})
PAGE_PATHS = frozenset({"/", "/docs", "/redoc", "/openapi.json", "/favicon.ico", "/redoc/logo-mini.svg"})
PICTURE_PATHS = frozenset({"/predict", "/predict/batch", "/read", "/explain"})
INFER_LABEL = "/v2/models/{name}/infer"
LABELS = HEALTH_PATHS | METRICS_PATHS | PAGE_PATHS | PICTURE_PATHS | {"/info", "/v2"}


def label_path(path: str) -> str:
    """Return the path as its route declares it, or ``other``, because clients may ask for any number of paths."""
    if path.startswith("/v2/models/") and path.endswith("/infer"):
        return INFER_LABEL
    return path if path in LABELS else "other"
