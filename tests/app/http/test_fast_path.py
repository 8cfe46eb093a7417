"""The short way: the same answers as the long one, and never for another address."""

import httpx
import pytest

from tests.support.pictures import FILES, Grey, png
from tests.support.running import Server
from tests.app.http.routes.test_predict import BAD


def ask(server: Server, query: str, request: dict[str, object]) -> httpx.Response:
    """Ask with an id of ours, so that two answers can be the same."""
    with httpx.Client(base_url=server.url, event_hooks={"request": [name_it]}) as client:
        return client.post(f"/predict{query}", **request)  # type: ignore[arg-type]  # a table of keyword arguments


def name_it(request: httpx.Request) -> None:
    request.headers["X-Request-ID"] = "r1"


@pytest.mark.parametrize("name", FILES)
def test_both_ways_answer_alike(server: Server, name: str, seven: Grey) -> None:
    """A query that asks for the default takes FastAPI's way: body, type and headers are those of the short one."""
    file = FILES[name](seven)
    short, long = (
        httpx.post(f"{server.url}/predict{query}", files={"file": file}) for query in ("", "?normalize=auto")
    )
    assert short.status_code == long.status_code == 200
    assert short.content == long.content
    assert set(short.headers) == set(long.headers)
    assert short.headers["content-type"] == long.headers["content-type"]


@pytest.mark.parametrize("name", BAD)
def test_both_ways_refuse_alike(server: Server, name: str) -> None:
    """Every bad request has the same problem either way."""
    request, _, _ = BAD[name]
    short, long = (ask(server, query, request) for query in ("", "?normalize=auto"))
    assert (short.status_code, short.json()) == (long.status_code, long.json())
    assert short.headers["content-type"] == long.headers["content-type"] == "application/problem+json"


def test_tensors_are_answered_alike(server: Server, seven: Grey) -> None:
    """Both ways to infer have the same body, good or bad, and the same headers."""
    tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": seven.ravel().tolist()}
    for body, status in (({"inputs": [tensor]}, 200), ({"inputs": []}, 400)):
        short, long = (httpx.post(f"{server.url}/v2/models/digitnet/infer{query}", json=body) for query in ("", "?a=1"))
        assert short.status_code == long.status_code == status
        assert short.content == long.content
        assert set(short.headers) == set(long.headers)
        assert short.headers["content-type"] == long.headers["content-type"]


def test_other_methods_and_addresses_go_the_long_way(server: Server, seven: Grey) -> None:
    """GET /predict is a 405, and what only begins like it is a 404."""
    assert httpx.get(f"{server.url}/predict").status_code == 405
    assert httpx.post(f"{server.url}/predict/").status_code in (307, 404)
    assert httpx.post(f"{server.url}/predictions", files={"file": png(seven)}).status_code == 404
    assert httpx.post(f"{server.url}/v2/models/other/infer", json={}).status_code == 404
