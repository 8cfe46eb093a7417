"""The OpenAPI document is complete, and describes what the service really answers."""

import json
import re
from typing import Any

import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from app.http.schemas import EXAMPLE_DIGIT
from app.imaging.formats import FORMATS
from tests.app.http.routes.test_predict import BAD
from tests.support.pictures import Grey, png
from tests.support.running import Server

JSON, PNG = "application/json", "image/png"


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    openapi: dict[str, Any] = httpx.get(f"{server.url}/openapi.json").raise_for_status().json()
    return openapi


def check(document: dict[str, Any], method: str, path: str, answer: httpx.Response) -> None:
    """Check the status, type, headers and body of a response against the document."""
    described = document["paths"][path][method]["responses"][str(answer.status_code)]
    media = answer.headers["content-type"]
    assert set(described["content"]) == ({media} if path != "/explain" or answer.is_error else {JSON, PNG})
    schema = {**described["content"][media]["schema"], "components": document["components"]}
    if media == PNG:
        assert schema["format"] == "binary"
    else:
        Draft202012Validator(schema).validate(answer.json())
    assert {name.lower() for name in described["headers"]} <= set(answer.headers)


def test_the_document_has_every_path(document: dict[str, Any]) -> None:
    """It has all public paths and no others."""
    ours = ["/explain", "/healthz", "/info", "/livez", "/metrics", "/predict", "/predict/batch", "/read", "/readyz"]
    protocol = ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/repository/index"]
    of_model = ["", "/config", "/infer", "/ready"]
    protocol += [f"/v2/models/{{name}}{end}" for end in of_model]
    protocol += [f"/v2/models/{{name}}/versions/{{version}}{end}" for end in of_model]
    assert sorted(document["paths"]) == sorted(ours + protocol)


def test_no_schema_is_missing(document: dict[str, Any]) -> None:
    """Every reference in the document resolves, and FastAPI's own validation error, which we never send, is absent."""
    text = json.dumps(document)
    for name in set(re.findall(r"#/components/schemas/(\w+)", text)):
        assert name in document["components"]["schemas"]
    assert "HTTPValidationError" not in set(re.findall(r"#/components/schemas/(\w+)", text))


def test_every_successful_response_is_as_described(document: dict[str, Any], server: Server, seven: Grey) -> None:
    """The 200 response of every path is valid against its schema."""
    check(document, "post", "/predict", httpx.post(f"{server.url}/predict", files={"file": png(seven)}))
    check(document, "post", "/predict", httpx.post(f"{server.url}/predict?preview=1", files={"file": png(255 - seven)}))
    check(document, "post", "/read", httpx.post(f"{server.url}/read", files={"file": png(seven)}))
    explain = f"{server.url}/explain"
    for sent in (png(seven), png(np.zeros_like(seven))):
        check(document, "post", "/explain", httpx.post(explain, files={"file": sent}))
        check(document, "post", "/explain", httpx.post(explain, files={"file": sent}, headers={"Accept": PNG}))
    check(document, "post", "/explain", httpx.post(f"{explain}?digit=10", files={"file": png(seven)}))
    two = [("file", ("a.png", png(seven))), ("file", ("b.png", b"no image"))]
    check(document, "post", "/predict/batch", httpx.post(f"{server.url}/predict/batch", files=two))
    tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": seven.ravel().tolist()}
    answer = httpx.post(f"{server.url}/v2/models/digitnet/infer", json={"inputs": [tensor]})
    check(document, "post", "/v2/models/{name}/infer", answer)
    unknown = httpx.post(f"{server.url}/v2/models/other/infer", json={"inputs": [tensor]})
    check(document, "post", "/v2/models/{name}/infer", unknown)
    for path in ("/livez", "/readyz", "/healthz", "/info"):
        check(document, "get", path, httpx.get(server.url + path))


@pytest.mark.parametrize("name", BAD)
def test_every_error_is_as_described(document: dict[str, Any], server: Server, name: str) -> None:
    """Each refusal has its status in the document, as application/problem+json."""
    request, _, _ = BAD[name]
    answer = httpx.post(f"{server.url}/predict", **request)  # type: ignore[arg-type]  # a table of keyword arguments
    check(document, "post", "/predict", answer)


def test_the_schemas_reject_a_wrong_answer(document: dict[str, Any], server: Server, seven: Grey) -> None:
    """The checks above can fail: a missing field or one out of range is not valid."""
    schema = {**document["components"]["schemas"]["Prediction"], "components": document["components"]}
    good = httpx.post(f"{server.url}/predict", files={"file": png(seven)}).json()
    assert Draft202012Validator(schema).is_valid(good)
    assert not Draft202012Validator(schema).is_valid({**good, "digit": 10})
    assert not Draft202012Validator(schema).is_valid({key: good[key] for key in good if key != "accepted"})


def test_the_examples_work_when_sent(document: dict[str, Any], server: Server) -> None:
    """Every example of a request body can be sent unchanged, and gets the digit that it shows."""
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    examples = [example["value"] for example in content["application/json"]["examples"].values()]
    examples += content["application/json"]["schema"]["examples"]
    assert len(examples) == 2
    for example in examples:
        assert httpx.post(f"{server.url}/predict", json=example).json()["digit"] == EXAMPLE_DIGIT


def test_every_form_of_a_request_is_described(document: dict[str, Any]) -> None:
    """A form with `file`, JSON with `image`, and the types of a raw image."""
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    images = [f"image/{name.lower()}" for name in FORMATS]
    assert sorted(content) == sorted(["multipart/form-data", "application/json", "application/octet-stream", *images])
    assert document["components"]["schemas"]["InputInfo"]["properties"]["format"]["enum"] == list(FORMATS)
    assert content["multipart/form-data"]["schema"]["required"] == ["file"]
    assert content["application/json"]["schema"]["required"] == ["image"]


def test_the_example_of_an_answer_is_valid(document: dict[str, Any]) -> None:
    """The example answer is valid against the schema."""
    described = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]
    schema = {**described["schema"], "components": document["components"]}
    Draft202012Validator(schema).validate(described["example"])
