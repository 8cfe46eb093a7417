"""The OpenAPI document, put right where FastAPI's own falls short of what the service really answers."""

from typing import Any

from fastapi import FastAPI

from app.openinference import InferenceRequest
from app.schemas import EXAMPLE_PREDICTION

HEADERS = {
    "X-Request-ID": {
        "description": "the client's own, if it sent a sane one, else a new one",
        "schema": {"type": "string"},
    },
}
TIMING = {
    "Server-Timing": {
        "description": "decode, queue and infer, in milliseconds",
        "schema": {"type": "string"},
        "example": "decode;dur=0.110, queue;dur=0.042, infer;dur=0.093",
    },
}
RETRY = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}}


def describe(app: FastAPI) -> None:
    """Have an app answer /openapi.json with the corrected document, made once."""
    generate = app.openapi

    def corrected() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document["components"]["schemas"]
            request = InferenceRequest.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(request.pop("$defs"), InferenceRequest=request)  # its body may be binary: FastAPI sees none
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        del operation["responses"]["422"]  # FastAPI's own; what cannot be understood is a 400 here
                    for status, response in operation["responses"].items():
                        correct(path, status, response)
            answered = document["paths"]["/predict"]["post"]["responses"]["200"]
            answered["headers"] = HEADERS | TIMING
            # FastAPI drops what is null, and an example without its null would not be what the schema asks for.
            answered["content"]["application/json"]["example"] = EXAMPLE_PREDICTION
        assert app.openapi_schema is not None
        return app.openapi_schema

    # The way that FastAPI's own documentation gives for extending the document.
    app.openapi = corrected  # type: ignore[method-assign]


def correct(path: str, status: str, response: dict[str, Any]) -> None:
    """Errors are application/problem+json, which FastAPI cannot be told; every answer has its headers."""
    if int(status) >= 400 and not path.startswith("/v2"):
        response["content"] = {"application/problem+json": response["content"]["application/json"]}
    response["headers"] = HEADERS | (RETRY if status == "503" else {})
