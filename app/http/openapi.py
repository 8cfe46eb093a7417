"""The OpenAPI document: descriptions that routes share, and corrections of what FastAPI generates."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.http.schemas import EXAMPLE_IMAGE, EXAMPLE_PREDICTION, ImageBody
from app.http.tensors import InferenceRequest

BINARY = {"schema": {"type": "string", "format": "binary"}}
ONE_IMAGE: dict[str, Any] = {
    "required": True,
    "description": "One image, in one of three forms.",
    "content": {
        # JSON comes first, because Swagger UI shows the first form, and this one has an example that works as it is.
        "application/json": {
            "schema": ImageBody.model_json_schema(),
            "examples": {"a 5 of MNIST": {"value": {"image": EXAMPLE_IMAGE}}},
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary", "description": "the image file"}},
            }
        },
        "image/png": BINARY,
        "image/jpeg": BINARY,
        "image/webp": BINARY,
        "image/bmp": BINARY,
        "image/gif": BINARY,
        "image/heic": BINARY,  # these two only where the extra "heic" is installed
        "image/tiff": BINARY,
        "application/octet-stream": BINARY,
    },
}

HEADERS = {
    "X-Request-ID": {
        "description": "the client's own ID if it is valid, otherwise a new one",
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


def correct_openapi(app: FastAPI, picture_routes: Sequence[APIRoute]) -> None:
    """Make an app serve the corrected document at /openapi.json. It is generated once.

    Args:
        picture_routes: Routes that are not the app's own. They come first.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            routes = [*picture_routes, *app.routes]
            document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=routes)
            app.openapi_schema = document
            schemas = document["components"]["schemas"]
            request = InferenceRequest.model_json_schema(ref_template="#/components/schemas/{model}")
            # FastAPI does not know this schema, because the route reads the body itself: it may be binary.
            schemas.update(request.pop("$defs"), InferenceRequest=request)
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        del operation["responses"]["422"]  # FastAPI's default; here an invalid parameter is a 400
                    for status, response in operation["responses"].items():
                        correct_response(path, status, response)
            answer = document["paths"]["/predict"]["post"]["responses"]["200"]
            answer["headers"] = HEADERS | TIMING
            # FastAPI drops null values, and without its null the example would not match the schema.
            answer["content"]["application/json"]["example"] = EXAMPLE_PREDICTION
        return app.openapi_schema

    # FastAPI's documentation recommends this way to extend the document.
    app.openapi = openapi  # type: ignore[method-assign]


def correct_response(path: str, status: str, response: dict[str, Any]) -> None:
    """Give errors the type application/problem+json, which FastAPI cannot do, and every response its headers."""
    if int(status) >= 400 and not path.startswith("/v2"):
        response["content"] = {"application/problem+json": response["content"]["application/json"]}
    response["headers"] = HEADERS | (RETRY if status == "503" else {})
