"""HEAD and OPTIONS work on every path, as health checks and clients expect."""

import shutil
import subprocess

import httpx
import pytest

from tests.support.running import Server, running

GET_PATHS = ("/", "/docs", "/redoc", "/livez", "/readyz", "/healthz", "/info", "/metrics", "/openapi.json", "/v2")
MORE_GET_PATHS = ("/v2/health/live", "/v2/health/ready", "/v2/models/digitnet", "/assets/index.html")


@pytest.mark.parametrize("path", [*GET_PATHS, *MORE_GET_PATHS])
def test_head_is_get_without_its_body(server: Server, path: str) -> None:
    """HEAD has the status and the type of GET, and no body. The connection can be used again."""
    with httpx.Client(base_url=server.url) as client:
        get, head = client.get(path), client.head(path)
        assert (head.status_code, head.headers["content-type"]) == (200, get.headers["content-type"])
        assert head.content == b""
        assert int(head.headers["content-length"]) > 0
        assert client.get("/livez").status_code == 200


def test_wget_can_check_the_service(server: Server) -> None:
    """`wget --spider` sends HEAD."""
    if not shutil.which("wget"):
        pytest.skip("wget is not installed")
    subprocess.run(["wget", "-q", "--spider", f"{server.url}/readyz"], check=True, timeout=20)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/predict", "OPTIONS, POST"),
        ("/read", "OPTIONS, POST"),
        ("/v2/models/digitnet/infer", "OPTIONS, POST"),
    ],
)
def test_options_names_the_methods(server: Server, path: str, allowed: str) -> None:
    """Without CORS, OPTIONS gets 204 and ``Allow``."""
    answer = httpx.options(server.url + path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_an_unknown_path_stays_unknown(server: Server, method: str) -> None:
    """HEAD and OPTIONS of a path that is not there get 404."""
    assert httpx.request(method, f"{server.url}/nothing").status_code == 404


def test_head_is_counted_under_its_path() -> None:
    """The metrics have the method HEAD and the path of the route."""
    with running() as own:
        httpx.head(f"{own.url}/livez")
        metrics = httpx.get(f"{own.url}/metrics").text
    assert 'http_requests_total{method="HEAD",path="/livez",status="200"} 1.0' in metrics
