"""The OpenAPI document: what FastAPI generates from the routes, and what it cannot know."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.http.error_examples import list_examples
from app.http.problems import MEDIA_TYPE, make_problem
from app.http.schemas import EXAMPLE_IMAGE, EXAMPLE_PREDICTION, ImageBody
from app.http.tensors import InferenceRequest

TAGS = [
    {"name": "predict", "description": "Read digits in pictures."},
    {
        "name": "open inference protocol",
        "description": "Read digits from tensors, with the clients of KServe and Triton: "
        "[version 2 of the protocol](https://github.com/kserve/open-inference-protocol).",
    },
    {"name": "operations", "description": "Health, metrics, and what is running."},
]
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key as Authorization: Bearer KEY."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key as X-API-Key: KEY."},
}
# The schema of a picture as a body. This form of it is of OpenAPI 3.0, but client generators know only this one.
BINARY = {"schema": {"type": "string", "format": "binary"}}
FILE = {"type": "string", "format": "binary", "description": "The image file."}
FORMS: dict[str, Any] = {
    "PictureForm": {"type": "object", "required": ["file"], "properties": {"file": FILE}},
    "PicturesForm": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "array", "minItems": 1, "items": FILE}},
    },
}
ONE_IMAGE: dict[str, Any] = {
    "required": True,
    "description": "One image, in one of three forms.",
    "content": {
        # The form comes first: Swagger UI shows the first one, and this one has a button that chooses a file.
        "multipart/form-data": {"schema": {"$ref": "#/components/schemas/PictureForm"}},
        "application/json": {
            "schema": {"$ref": "#/components/schemas/ImageBody"},
            "examples": {"a 5 of MNIST": {"value": {"image": EXAMPLE_IMAGE}}},
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
SEVERAL_IMAGES: dict[str, Any] = {
    "required": True,
    "description": "Several images, each as a file part of one form.",
    "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/PicturesForm"}}},
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
REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "Your own ID of this request, for the logs: up to 64 letters, digits and . _ : / = + -",
    "schema": {"type": "string"},
}
RETRY = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}}
EXAMPLE_REQUEST_ID = "8f14e45fceea167a"
HEAD_TOO_LARGE = 431


def correct_openapi(
    app: FastAPI, picture_routes: Sequence[APIRoute], needs_key: bool, open_paths: frozenset[str]
) -> None:
    """Make an app serve the corrected document at /openapi.json. It is generated once.

    Args:
        picture_routes: Routes that are not the app's own. They come first.
        needs_key: Whether requests need an API key.
        open_paths: The paths that need no key even then.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                routes=[*picture_routes, *app.routes],
                tags=TAGS,
                servers=[{"url": "/"}],
                license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
            )
            complete_schemas(document["components"]["schemas"])
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    correct_operation(path, operation)
                    if path in open_paths:
                        operation["security"] = []
            document["security"] = [{name: []} for name in SECURITY_SCHEMES] if needs_key else []
            if needs_key:
                document["components"]["securitySchemes"] = SECURITY_SCHEMES
            answer = document["paths"]["/predict"]["post"]["responses"]["200"]
            answer["headers"] = HEADERS | TIMING
            # FastAPI drops null values, and without its null the example would not match the schema.
            answer["content"]["application/json"]["example"] = EXAMPLE_PREDICTION
            app.openapi_schema = document
        return app.openapi_schema

    # FastAPI's documentation recommends this way to extend the document.
    app.openapi = openapi  # type: ignore[method-assign]


def complete_schemas(schemas: dict[str, Any]) -> None:
    """Add the schemas of bodies that the routes read themselves, and remove those of errors that we never send."""
    request = InferenceRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(request.pop("$defs"), InferenceRequest=request, ImageBody=ImageBody.model_json_schema(), **FORMS)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)


def correct_operation(path: str, operation: dict[str, Any]) -> None:
    """Give an operation a readable ID, examples of its errors and the headers of its responses."""
    operation["operationId"] = "_".join(part for part in path.split("/") if part and "{" not in part)
    if "requestBody" in operation:
        operation.setdefault("parameters", []).append(REQUEST_ID)
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]  # FastAPI's default; here an invalid parameter is a 400
    # Sent before the path is known, so this is a problem under /v2, too.
    responses[str(HEAD_TOO_LARGE)] = {
        "description": "The head is too large",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, response in responses.items():
        response["headers"] = HEADERS | (RETRY if status == "503" else {})
        if int(status) >= 400:
            add_error_examples(path, int(status), response)


def add_error_examples(path: str, status: int, response: dict[str, Any]) -> None:
    """Give an error response its examples, and the type application/problem+json, which FastAPI cannot do."""
    of_protocol = path.startswith("/v2") and status != HEAD_TOO_LARGE
    (content,) = response["content"].values()
    content["examples"] = {}
    for slug, title, detail in list_examples(status):
        problem = make_problem(status, slug, title, detail, EXAMPLE_REQUEST_ID).model_dump()
        content["examples"][slug] = {"summary": title, "value": {"error": detail} if of_protocol else problem}
    response["content"] = {"application/json" if of_protocol else MEDIA_TYPE: content}
