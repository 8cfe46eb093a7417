"""The OpenAPI document is complete, and describes what the service really answers."""

import hashlib
import json
import re
from typing import Any

import httpx
import numpy as np
import pytest

from app.http.schemas import EXAMPLE_DIGIT
from app.imaging.formats import FORMATS
from tests.app.http.routes.test_predict import BAD
from tests.support.pictures import Grey, png
from tests.support.running import Server, running

JSON, PNG = "application/json", "image/png"


def make_validator(schema: Any) -> Any:
    """Return a validator for a JSON schema. The package takes seconds to import, in each of pytest's processes."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema)


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
        make_validator(schema).validate(answer.json())
    assert {name.lower() for name in described["headers"]} <= set(answer.headers)


def test_the_document_has_every_path(document: dict[str, Any]) -> None:
    """It has all public paths and no others."""
    ours = ["/explain", "/healthz", "/info", "/livez", "/metrics", "/predict", "/predict/batch", "/read", "/readyz"]
    protocol = ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/repository/index"]
    of_model = ["", "/config", "/infer", "/ready"]
    protocol += [f"/v2/models/{{name}}{end}" for end in of_model]
    protocol += [f"/v2/models/{{name}}/versions/{{version}}{end}" for end in of_model]
    assert sorted(document["paths"]) == sorted(ours + protocol)


def test_no_schema_is_missing_or_unused(document: dict[str, Any]) -> None:
    """Every reference in the document resolves, and every schema is used."""
    assert set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document))) == set(
        document["components"]["schemas"]
    )


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
    assert make_validator(schema).is_valid(good)
    assert not make_validator(schema).is_valid({**good, "digit": 10})
    assert not make_validator(schema).is_valid({key: good[key] for key in good if key != "accepted"})


def test_the_examples_work_when_sent(document: dict[str, Any], server: Server) -> None:
    """Every example of a request body can be sent unchanged, and gets the digit that it shows."""
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    examples = [example["value"] for example in content["application/json"]["examples"].values()]
    examples += document["components"]["schemas"]["ImageBody"]["examples"]
    assert len(examples) == 2
    for example in examples:
        assert httpx.post(f"{server.url}/predict", json=example).json()["digit"] == EXAMPLE_DIGIT


def test_every_form_of_a_request_is_described(document: dict[str, Any]) -> None:
    """A form with `file`, JSON with `image`, and the types of a raw image."""
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    images = [f"image/{name.lower()}" for name in FORMATS]
    assert sorted(content) == sorted(["multipart/form-data", "application/json", "application/octet-stream", *images])
    assert document["components"]["schemas"]["InputInfo"]["properties"]["format"]["enum"] == list(FORMATS)
    assert next(iter(content)) == "multipart/form-data", (
        "Swagger UI shows the first form, and only this has a file button"
    )
    schemas = document["components"]["schemas"]
    assert schemas["PictureForm"]["required"] == ["file"]
    assert schemas["ImageBody"]["required"] == ["image"]


def test_the_example_of_an_answer_is_valid(document: dict[str, Any]) -> None:
    """The example answer is valid against the schema."""
    described = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]
    schema = {**described["schema"], "components": document["components"]}
    make_validator(schema).validate(described["example"])


def list_operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """It has a readable ID of its own, a summary, a description and a tag that is described."""
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    ids = [operation["operationId"] for _, operation in list_operations(document)]
    assert len(set(ids)) == len(ids)
    assert {"predict", "predict_batch", "read", "v2_models_infer", "v2_models_versions_infer"} <= set(ids)
    for path, operation in list_operations(document):
        assert all(operation.get(key) for key in ("summary", "description", "tags")), path
        assert set(operation["tags"]) <= described, path
        for parameter in operation.get("parameters", []):
            assert parameter["in"] != "path" or parameter["schema"]["type"] == "string", path


def test_every_error_has_a_valid_example(document: dict[str, Any]) -> None:
    """Each error response of each path has an example for each kind of error with its status."""
    for path, operation in list_operations(document):
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            (content,) = response["content"].values()
            schema = {**content["schema"], "components": document["components"]}
            assert content["examples"], (path, status)
            for slug, example in content["examples"].items():
                make_validator(schema).validate(example["value"])
                problem = example["value"]
                assert "error" in problem or (problem["status"], problem["type"].split(":")[-1]) == (int(status), slug)


@pytest.mark.parametrize("name", BAD)
def test_a_refusal_is_among_the_examples(document: dict[str, Any], server: Server, name: str) -> None:
    """Each kind of error that /predict answers with has an example under its status."""
    request, _, _ = BAD[name]
    answer = httpx.post(f"{server.url}/predict", **request)  # type: ignore[arg-type]  # a table of keyword arguments
    responses = document["paths"]["/predict"]["post"]["responses"]
    examples = responses[str(answer.status_code)]["content"]["application/problem+json"]["examples"]
    assert answer.json()["type"] in {example["value"]["type"] for example in examples.values()}


def test_a_head_that_is_too_large_is_as_described(document: dict[str, Any], server: Server) -> None:
    """The answer that every path may give."""
    answer = httpx.get(f"{server.url}/v2", headers={"X-Large": "a" * 1_000_000})
    described = document["paths"]["/v2"]["get"]["responses"]["431"]["content"]["application/problem+json"]
    make_validator({**described["schema"], "components": document["components"]}).validate(answer.json())
    assert answer.json()["detail"] == described["examples"]["head-too-large"]["value"]["detail"]


def test_keys_are_described_only_if_they_are_needed(document: dict[str, Any]) -> None:
    """With keys set, the document has both ways to send one, and says which paths need none."""
    assert document["security"] == []
    assert "securitySchemes" not in document["components"]
    with running(DIGITS_API_KEYS=hashlib.sha256(b"secret").hexdigest()) as server:
        locked = httpx.get(f"{server.url}/openapi.json").raise_for_status().json()
        assert set(locked["components"]["securitySchemes"]) == {"bearer", "header"}
        assert locked["security"] == [{"bearer": []}, {"header": []}]
        for path, operation in list_operations(locked):
            method = next(iter(locked["paths"][path]))
            answer = httpx.request(method, server.url + path.format(name="digitnet", version="1.7.0"))
            assert (answer.status_code == httpx.codes.UNAUTHORIZED) == ("security" not in operation), path
