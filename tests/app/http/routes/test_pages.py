"""The pages: relative URLs, security headers, caching, and a reverse proxy in front."""

import re
from pathlib import Path

import httpx
import pytest

from app.http.routes.pages import STATIC
from tests.support.nginx import behind_nginx, needs_nginx
from tests.support.running import Server, running


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/assets/docs.js"])
def test_all_urls_of_a_page_are_relative(server: Server, path: str) -> None:
    """They have no host, and no leading slash, which would not work behind a proxy with a path."""
    text = httpx.get(server.url + path).raise_for_status().text
    assert "//" not in re.sub(r"^//.*$", "", text, flags=re.MULTILINE)  # comments in scripts are removed
    for address in re.findall(r'(?:src|href|spec-url|url:)\s*=?\s*"([^"]+)"', text):
        assert not address.startswith("/")
        httpx.get(f"{server.url}/{address}").raise_for_status()


def test_all_urls_in_scripts_and_styles_are_relative() -> None:
    """They have no host, and do not start at the root."""
    files = [*STATIC.glob("*.js"), *STATIC.glob("*.css")]
    assert files
    for file in files:
        text = file.read_text()
        assert "://" not in text, file.name
        assert not re.search(r"""(?:fetch|post|url|import)\(?\s*["'`(]/""", text), file.name


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
def test_pages_have_a_strict_security_policy(server: Server, path: str) -> None:
    """It allows only the own host, no inline scripts or styles, and no frames."""
    headers = httpx.get(server.url + path).raise_for_status().headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_redoc_has_a_new_nonce_each_time(server: Server) -> None:
    """The nonce that allows ReDoc's styles is in the page and in its policy, and differs between two requests."""
    nonces = set()
    for _ in range(2):
        answer = httpx.get(f"{server.url}/redoc")
        (nonce,) = re.findall(r"'nonce-([\w-]{20,})'", answer.headers["Content-Security-Policy"])
        assert f'nonce="{nonce}"' in answer.text
        nonces.add(nonce)
    assert len(nonces) == 2


def test_browsers_revalidate_assets(server: Server) -> None:
    """After an update, a browser must not mix the files of two versions. It asks, and gets a 304 if nothing changed."""
    answer = httpx.get(f"{server.url}/assets/page.js").raise_for_status()
    assert answer.headers["Cache-Control"] == "no-cache"
    again = httpx.get(f"{server.url}/assets/page.js", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-cache")


@needs_nginx
def test_only_trusted_proxies_can_set_the_client_address(tmp_path: Path) -> None:
    """The log has the address from X-Forwarded-For if a trusted proxy sent it, and ignores it otherwise."""
    for trusted, seen in (("127.0.0.1", True), ("192.0.2.1", False)):
        with (
            running(DIGITS_FORWARDED_ALLOW_IPS=trusted) as server,
            behind_nginx(server, tmp_path) as url,
        ):
            httpx.get(f"{url}/info").raise_for_status()
            assert ("203.0.113.7" in server.wait_for_log('"path": "/info"')) == seen


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/favicon.ico", "/assets/index.html"])
def test_what_a_browser_has_is_not_sent_again(server: Server, path: str) -> None:
    """A browser asks each time, and gets 304 without the content if it has not changed."""
    first = httpx.get(server.url + path)
    again = httpx.get(server.url + path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(server.url + path, headers={"If-None-Match": '"other"'}).status_code == 200
