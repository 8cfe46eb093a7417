"""API keys, hosts, CORS, and the paths that need no key."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.errors import StartupError, UnknownHostError
from app.http.middleware.auth import Auth, parse_list, read_keys
from tests.support.pictures import Grey, png
from tests.support.running import Server, run_app, running

OLD, NEW = "old-key-5b1c", "new-key-77d0"


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def locked() -> Iterator[Server]:
    """A server with two keys, as during a change of keys, and two host names."""
    keys = f"{hashed(OLD)}, {hashed(NEW).upper()}"
    with running(DIGITS_API_KEYS=keys, DIGITS_ALLOWED_HOSTS="127.0.0.1, *.example.org") as server:
        yield server


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {OLD}"},
        {"authorization": f"bearer {NEW}"},
        {"X-API-Key": NEW},
    ],
)
def test_either_key_is_valid_in_either_header(locked: Server, seven: Grey, headers: dict[str, str]) -> None:
    """Both keys are valid at the same time, so that keys can be changed without an interruption."""
    answer = httpx.post(f"{locked.url}/predict", files={"file": png(seven)}, headers=headers)
    assert answer.json()["digit"] == 7


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": "guess"}, {"X-API-Key": hashed(OLD)}, {"Authorization": f"Basic {OLD}"}, {"X-API-Key": ""}],
    ids=["none", "wrong", "the hash", "another scheme", "empty"],
)
@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/read", "/v2/models/digitnet/infer"])
def test_without_a_valid_key_nothing_is_read(locked: Server, seven: Grey, path: str, headers: dict[str, str]) -> None:
    """The response is a 401 that says how to send a key. The body is not looked at."""
    answer = httpx.post(f"{locked.url}{path}", files={"file": png(seven)}, headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "ey" in answer.json()["error" if path.startswith("/v2") else "detail"]


def test_health_metrics_and_pages_are_open(locked: Server) -> None:
    """They need no key by default. Everything else needs one."""
    for path in ("/livez", "/readyz", "/healthz", "/v2/health/ready", "/metrics", "/docs", "/redoc", "/openapi.json"):
        assert httpx.get(f"{locked.url}{path}").status_code == 200, path
    for path in ("/info", "/v2/models/digitnet", "/nothing", "/metrics/", "//metrics", "/Livez", "/docs/../info"):
        assert httpx.get(f"{locked.url}{path}").status_code == 401, path


def test_a_refusal_is_counted_under_its_path(locked: Server) -> None:
    """A 401 is counted under its path. Unknown paths share one label."""
    httpx.post(f"{locked.url}/read")
    httpx.post(f"{locked.url}/made-up")
    metrics = httpx.get(f"{locked.url}/metrics").text
    assert 'http_requests_total{method="POST",path="/read",status="401"}' in metrics
    assert 'http_requests_total{method="POST",path="other",status="401"}' in metrics
    assert "made-up" not in metrics


def test_two_hosts_do_not_pass_a_list_of_hosts() -> None:
    """The app refuses a good Host that is followed by another one, whatever server it runs in."""
    allowed = Auth(lambda *_: None, frozenset(), ("good.example",), frozenset(), True)  # type: ignore[arg-type]  # not called
    good, bad = (b"host", b"good.example"), (b"host", b"bad.example")
    scope = {"type": "http", "path": "/info", "root_path": "", "headers": [good]}
    assert allowed.check(scope) is None
    assert isinstance(allowed.check({**scope, "headers": [good, bad]}), UnknownHostError)
    assert isinstance(allowed.check({**scope, "headers": []}), UnknownHostError)


def test_metrics_and_pages_can_be_closed() -> None:
    """Two settings make them need a key. Health checks never need one."""
    closed: dict[str, Any] = {"DIGITS_OPEN_METRICS": "false", "DIGITS_OPEN_PAGES": "false"}
    with running(DIGITS_API_KEYS=hashed(NEW), **closed) as server:
        for path in ("/metrics", "/docs", "/openapi.json", "/assets/favicon.svg"):
            assert httpx.get(f"{server.url}{path}").status_code == 401, path
            assert httpx.get(f"{server.url}{path}", headers={"X-API-Key": NEW}).status_code == 200, path
        assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_keys_are_never_logged(locked: Server) -> None:
    """The log contains neither valid nor invalid keys."""
    httpx.get(f"{locked.url}/info", headers={"X-API-Key": NEW})
    httpx.get(f"{locked.url}/info", headers={"X-API-Key": "guess-9f", "X-Request-ID": "guessed"})
    log = locked.wait_for_log("guessed")
    assert NEW not in log
    assert "guess-9f" not in log
    assert hashed(NEW) not in log


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9", 200),
        ("a.b.example.org", 200),
        ("EXAMPLE.ORG", 200),
        ("evil.org", 400),
        ("example.org.evil", 400),
        ("badexample.org", 400),
        ("", 400),
    ],
)
def test_only_allowed_hosts_are_served(locked: Server, host: str, status: int) -> None:
    """A request for another host name gets a 400. Health checks may use any name."""
    answer = httpx.get(f"{locked.url}/info", headers={"Host": host, "X-API-Key": NEW})
    assert answer.status_code == status
    assert httpx.get(f"{locked.url}/livez", headers={"Host": host}).status_code == 200


def test_only_allowed_origins_get_cors_headers() -> None:
    """With the setting, pages of the named origin may read responses, and pages of other origins may not."""
    preflight = {"Origin": "https://forms.example", "Access-Control-Request-Method": "POST"}
    with running(DIGITS_CORS_ORIGINS="https://forms.example", DIGITS_API_KEYS=hashed(NEW)) as server:
        allowed = httpx.options(f"{server.url}/predict", headers=preflight)
        assert allowed.headers["access-control-allow-origin"] == "https://forms.example"
        other = httpx.options(f"{server.url}/predict", headers=preflight | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_cors_is_off_by_default(server: Server) -> None:
    """Without the setting, there are no CORS headers."""
    answer = httpx.get(f"{server.url}/info", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_keys_can_be_in_a_file(tmp_path: Path) -> None:
    """One hash per line; comments and empty lines are ignored."""
    file = tmp_path / "keys"
    file.write_text(f"# since May\n{hashed(OLD)}  # forms\n\n{hashed(NEW)}\n")
    assert read_keys(str(file)) == read_keys(f"{hashed(OLD)},{hashed(NEW)}")
    assert read_keys("") == frozenset()


@pytest.mark.parametrize("content", [None, "", "# nobody\n", "secret\n", hashed(NEW)[:-1], "\xff\xfe"])
def test_an_invalid_hash_is_a_start_up_error(tmp_path: Path, content: str | None) -> None:
    """A service that should have keys never starts without them. The message does not repeat the invalid text."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    with pytest.raises(StartupError, match="DIGITS_API_KEYS") as raised:
        read_keys(str(file))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_command_line_reports_an_invalid_hash(workers: str) -> None:
    """The exit status is 3, and there is no traceback."""
    done = run_app("serve", "--port", "0", "--workers", workers, DIGITS_API_KEYS="secret")
    assert done.returncode == 3
    assert "DIGITS_API_KEYS" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_star_stands_for_all_subdomains() -> None:
    """``*.example.org`` is example.org and all its subdomains, but not another name with the same ending."""
    hosts = parse_list(" *.Example.org ,")
    auth = Auth(lambda *_: None, frozenset(), hosts, frozenset(), True)  # type: ignore[arg-type]  # the app is never called
    found = [auth.is_known_host(host) for host in (b"example.org", b"x.example.org:80", b"xexample.org", b"org")]
    assert found == [True, True, False, False]
