"""The fast path: the same responses as through FastAPI, and only for its own paths."""

import httpx
import pytest

from tests.app.http.routes.test_predict import BAD
from tests.support.pictures import FILES, Grey, png
from tests.support.running import Server


def post(server: Server, query: str, request: dict[str, object]) -> httpx.Response:
    """Send a request to /predict with a fixed request ID, so that two responses can be equal."""
    with httpx.Client(base_url=server.url, event_hooks={"request": [set_request_id]}) as client:
        return client.post(f"/predict{query}", **request)  # type: ignore[arg-type]  # a table of keyword arguments


def set_request_id(request: httpx.Request) -> None:
    request.headers["X-Request-ID"] = "r1"


@pytest.mark.parametrize("name", FILES)
def test_both_paths_give_the_same_answer(server: Server, name: str, seven: Grey) -> None:
    """A query with the default value goes through FastAPI. Body, type and headers are those of the fast path."""
    file = FILES[name](seven)
    fast, usual = (
        httpx.post(f"{server.url}/predict{query}", files={"file": file}) for query in ("", "?normalize=auto")
    )
    assert fast.status_code == usual.status_code == 200
    assert fast.content == usual.content
    assert set(fast.headers) == set(usual.headers)
    assert fast.headers["content-type"] == usual.headers["content-type"]


@pytest.mark.parametrize("name", BAD)
def test_both_paths_give_the_same_problem(server: Server, name: str) -> None:
    """Every bad request gets the same problem either way."""
    request, _, _ = BAD[name]
    fast, usual = (post(server, query, request) for query in ("", "?normalize=auto"))
    assert (fast.status_code, fast.json()) == (usual.status_code, usual.json())
    assert fast.headers["content-type"] == usual.headers["content-type"] == "application/problem+json"


def test_both_paths_give_the_same_answer_to_tensors(server: Server, seven: Grey) -> None:
    """Both paths to infer give the same body and headers, for good and bad requests."""
    tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": seven.ravel().tolist()}
    for body, status in (({"inputs": [tensor]}, 200), ({"inputs": []}, 400)):
        fast, usual = (httpx.post(f"{server.url}/v2/models/digitnet/infer{query}", json=body) for query in ("", "?a=1"))
        assert fast.status_code == usual.status_code == status
        assert fast.content == usual.content
        assert set(fast.headers) == set(usual.headers)
        assert fast.headers["content-type"] == usual.headers["content-type"]


def test_the_fast_path_takes_only_its_own_requests(server: Server, seven: Grey) -> None:
    """GET /predict gets a 405, and paths that only start with /predict get a 404."""
    assert httpx.get(f"{server.url}/predict").status_code == 405
    assert httpx.post(f"{server.url}/predict/").status_code in (307, 404)
    assert httpx.post(f"{server.url}/predictions", files={"file": png(seven)}).status_code == 404
    assert httpx.post(f"{server.url}/v2/models/other/infer", json={}).status_code == 404
