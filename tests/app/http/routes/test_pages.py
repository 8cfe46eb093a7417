"""The pages in a real browser: they render, work, break no rule of their policies, and ask nothing of any other host.

The tests of the front page itself are in static/test_page.py.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from app.http.routes.pages import STATIC
from benchmarks.startup import free_port
from tests.support.browser import browsing, needs_chromium
from tests.support.running import Server, running

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: apt install nginx-light)")


def try_it_out(page: Page) -> None:
    """Send the JSON example of /predict from Swagger UI, and see a digit come back."""
    operation = page.locator("#operations-predict-predict_predict_post")
    operation.click()
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .response .microlight").first
    expect(answer).to_contain_text('"digit": 5')


@needs_chromium
def test_docs_work_without_the_internet(server: Server) -> None:
    """/docs renders from this process alone, and "Try it out" reads the example digit."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/docs")
        expect(page.get_by_role("heading", name="digitserve")).to_be_visible()
        try_it_out(page)
        assert faults == []


@needs_chromium
@pytest.mark.parametrize("content_type", ["multipart/form-data", "image/png"])
def test_a_file_can_be_uploaded_from_docs(server: Server, seven_png: Path, content_type: str) -> None:
    """/docs has a file input, and what it uploads is read: as a form's file, and as the body itself."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/docs")
        operation = page.locator("#operations-predict-predict_predict_post")
        operation.click()
        operation.get_by_label("Request content type").select_option(content_type)
        operation.locator("input[type=file]").set_input_files(seven_png)
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table .response .microlight").first).to_contain_text('"digit": 7')
        assert faults == []


@needs_chromium
def test_redoc_works_without_the_internet(server: Server) -> None:
    """/redoc renders from this process alone, with its styles, and its search finds something."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/redoc")
        expect(page.get_by_role("heading", name="Read one digit")).to_be_visible()
        assert page.locator(".menu-content").evaluate("menu => getComputedStyle(menu).position") == "sticky"
        page.get_by_placeholder("Search").fill("whole number")
        expect(page.get_by_role("menuitem", name="Read a whole number").first).to_be_visible()
        assert faults == []


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/assets/docs.js"])
def test_no_page_names_another_host(server: Server, path: str) -> None:
    """Every address in a page is relative: no host, and no leading slash that a proxy's prefix would break."""
    text = httpx.get(server.url + path).raise_for_status().text
    assert "//" not in re.sub(r"^//.*$", "", text, flags=re.MULTILINE)  # but for a comment in the script
    for address in re.findall(r'(?:src|href|spec-url|url:)\s*=?\s*"([^"]+)"', text):
        assert not address.startswith("/")
        httpx.get(f"{server.url}/{address}").raise_for_status()


def test_no_file_of_the_page_names_another_host() -> None:
    """Scripts and styles have no address with a host, and none that begins at the root."""
    files = [*STATIC.glob("*.js"), *STATIC.glob("*.css")]
    assert files
    for file in files:
        text = file.read_text()
        assert "://" not in text, file.name
        assert not re.search(r"""(?:fetch|post|url|import)\(?\s*["'`(]/""", text), file.name


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
def test_pages_allow_nothing_inline(server: Server, path: str) -> None:
    """Each page has a policy that allows its own host alone, nothing inline, and no frame around it."""
    headers = httpx.get(server.url + path).raise_for_status().headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_no_two_pages_of_redoc_have_the_same_nonce(server: Server) -> None:
    """The nonce that allows ReDoc its styles is in the page and in its policy, and no other page's."""
    nonces = set()
    for _ in range(2):
        answer = httpx.get(f"{server.url}/redoc")
        (nonce,) = re.findall(r"'nonce-([\w-]{20,})'", answer.headers["Content-Security-Policy"])
        assert f'nonce="{nonce}"' in answer.text
        nonces.add(nonce)
    assert len(nonces) == 2


def test_assets_are_asked_for_anew(server: Server) -> None:
    """After an update, no browser mixes the files of two versions: it asks, and what is unchanged is not sent again."""
    answer = httpx.get(f"{server.url}/assets/page.js").raise_for_status()
    assert answer.headers["Cache-Control"] == "no-cache"
    again = httpx.get(f"{server.url}/assets/page.js", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-cache")


@contextmanager
def behind_nginx(server: Server, folder: Path) -> Iterator[str]:
    """A reverse proxy that shows the service under /digits, as its documentation says to set one up."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
        http {{
          access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{
            listen 127.0.0.1:{port};
            location /digits/ {{
              proxy_pass {server.url}/;
              proxy_max_temp_file_size 0;
              proxy_set_header Host $http_host;
              proxy_set_header X-Forwarded-For 203.0.113.7;
              proxy_set_header X-Forwarded-Proto https;
            }}
          }}
        }}"""
    )
    process = subprocess.Popen([str(NGINX), "-c", str(config)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/digits"
    try:
        httpx.HTTPTransport(retries=8).handle_request(httpx.Request("GET", f"{url}/livez")).close()
        yield url
    finally:
        process.terminate()
        process.wait()


@needs_nginx
@needs_chromium
def test_pages_work_behind_a_proxy_under_a_path(tmp_path: Path) -> None:
    """With DIGITS_ROOT_PATH, the pages under the proxy's path render, and what they send finds its way back."""
    with running(DIGITS_ROOT_PATH="/digits") as server, behind_nginx(server, tmp_path) as url:
        assert httpx.get(f"{url}/openapi.json").json()["servers"] == [{"url": "/digits"}]
        with browsing() as (page, faults):
            page.goto(f"{url}/docs")
            try_it_out(page)
            page.goto(f"{url}/")
            page.get_by_role("button", name="Example: a 7").click()
            expect(page.locator("#answer")).to_have_attribute("data-state", "accepted")
            expect(page.locator("#digit")).to_have_text("7")
            page.goto(f"{url}/redoc")
            expect(page.get_by_role("heading", name="Read one digit")).to_be_visible()
            assert faults == []


@needs_nginx
def test_a_proxy_is_believed_only_if_it_is_trusted(tmp_path: Path) -> None:
    """X-Forwarded-For is the client's address in the log if it comes from a trusted proxy, and is ignored if not."""
    for trusted, seen in (("127.0.0.1", True), ("192.0.2.1", False)):
        with (
            running(DIGITS_FORWARDED_ALLOW_IPS=trusted) as server,
            behind_nginx(server, tmp_path) as url,
        ):
            httpx.get(f"{url}/info").raise_for_status()
            assert ("203.0.113.7" in server.wait_for_log('"path": "/info"')) == seen
