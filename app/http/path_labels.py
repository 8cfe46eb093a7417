"""The labels that count a request that no route has seen: one that was refused before."""

PICTURE_PATHS = frozenset({"/predict", "/predict/batch", "/read", "/explain"})
INFER_LABEL = "/v2/models/{name}/infer"
OTHER_PATHS = frozenset(
    {"/", "/docs", "/redoc", "/openapi.json", "/info", "/metrics", "/livez", "/readyz", "/healthz", "/v2"}
)


def label_path(path: str) -> str:
    """Return the path as its route declares it, or ``other``, because clients may ask for any number of paths."""
    if path.startswith("/v2/models/") and path.endswith("/infer"):
        return INFER_LABEL
    return path if path in PICTURE_PATHS or path in OTHER_PATHS else "other"
