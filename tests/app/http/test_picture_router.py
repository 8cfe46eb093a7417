"""The router of the paths that take pictures: one path for each request, with and without a query."""

import base64
import json
from typing import Any

import httpx
import pytest

from app.http.query import Parameters, parse_query
from app.http.routes.predict import PredictParameters
from tests.support.little_memory import little_memory
from tests.support.pictures import FILES, Grey, png
from tests.support.running import Server, running

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("name", FILES)
def test_a_default_in_the_query_changes_nothing(server: Server, name: str, seven: Grey) -> None:
    """Body, type and headers are the same with a parameter's default as without a query."""
    file = FILES[name](seven)
    bare, default = (
        httpx.post(f"{server.url}/predict{query}", files={"file": file}) for query in ("", "?normalize=auto")
    )
    assert bare.status_code == default.status_code == 200
    assert bare.content == default.content
    assert set(bare.headers) == set(default.headers)


def test_only_its_own_paths_are_answered(server: Server, seven: Grey) -> None:
    """Paths that only start or end like ours get a 404, and so does a model of another name or version."""
    for path in ("/predict/", "/predictions", "/v2/models/digitnet/infer/", "/v2/models/a/b/infer", "//predict"):
        assert httpx.post(server.url + path, files={"file": png(seven)}).status_code == 404
    for path in ("/v2/models/other/infer", "/v2/models/digitnet/versions/0/infer"):
        assert httpx.post(server.url + path, json={}).json()["error"].startswith("Unknown model")


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/read", "/explain", "/v2/models/digitnet/infer"])
def test_another_method_is_refused(server: Server, path: str) -> None:
    """GET gets a 405 that names POST."""
    refused = httpx.get(server.url + path)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_of_a_repeated_parameter_the_last_counts() -> None:
    """As in FastAPI and most frameworks."""
    assert parse_query(b"normalize=never&normalize=always", PredictParameters).normalize == "always"


def test_a_path_without_parameters_takes_an_empty_query() -> None:
    """A lone question mark is no parameter."""
    assert parse_query(b"", Parameters) == Parameters()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"image": base64.b64encode(bytes(7_000_000)).decode()}),
        (
            "/v2/models/digitnet/infer",
            {"inputs": [{"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [123] * 784_000}]},
        ),
    ],
    ids=["picture", "tensor"],
)
def test_too_little_memory_for_a_body_is_no_internal_error(path: str, body: dict[str, Any]) -> None:
    """A body that is received, but that there is no memory to decode, gets a 503. Later it is decoded."""
    content = json.dumps(body).encode()
    with running(MALLOC_ARENA_MAX="1") as server:
        with little_memory(server.pid, 20_000_000):
            answer = httpx.post(server.url + path, content=content, headers=JSON)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
        again = httpx.post(server.url + path, content=content, headers=JSON)
        assert again.status_code in (400, 415)
        assert "Traceback" not in server.log.read_text()
