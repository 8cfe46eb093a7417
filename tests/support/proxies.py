"""Real reverse proxies in front of the service. Those that are not installed are skipped."""

import http.client
import itertools
import shutil
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from json import loads
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port

START_TIMEOUT_S = 10
CLIENT_ID = "honest-client"  # begins the request ID of each request of ``post_pictures``


def find_command(name: str) -> str | None:
    """Return the path of a program. Debian keeps servers where only root looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


def nginx(folder: Path, port: int, backend: str, idle_s: float) -> list[str]:
    """Write nginx's configuration and return its command."""
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{ worker_connections 512; }}
        http {{
          access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          upstream digits {{ server {backend}; keepalive 32; keepalive_timeout {round(idle_s * 1000)}ms; }}
          server {{
            listen 127.0.0.1:{port}; client_max_body_size 100m; keepalive_requests 100000;
            location / {{
              proxy_pass http://digits; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_set_header Host $http_host; proxy_request_buffering off;
            }}
          }}
        }}"""
    )
    return ["-c", str(config)]


def haproxy(folder: Path, port: int, backend: str, idle_s: float) -> list[str]:
    """Write HAProxy's configuration and return its command."""
    config = folder / "haproxy.cfg"
    config.write_text(
        f"""defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  default_backend digits
backend digits
  option httpchk HEAD /readyz HTTP/1.1\\r\\nHost:\\ x
  server one {backend} check inter 500ms pool-purge-delay {round(idle_s * 1000)}ms
"""
    )
    return ["-db", "-f", str(config)]


def caddy(folder: Path, port: int, backend: str, idle_s: float) -> list[str]:
    """Write Caddy's configuration and return its command."""
    config = folder / "Caddyfile"
    config.write_text(
        f"""{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy {backend} {{
    transport http {{
      keepalive {round(idle_s * 1000)}ms
    }}
  }}
}}
"""
    )
    return ["run", "--config", str(config), "--adapter", "caddyfile"]


Configure = Callable[[Path, int, str, float], list[str]]
PROXIES: dict[str, Configure] = {"nginx": nginx, "haproxy": haproxy, "caddy": caddy}


def proxy_parameters() -> list[object]:
    """Return a pytest parameter for each proxy, skipped if it is not installed."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(find_command(name) is None, reason=f"{name} is not installed"))
        for name in PROXIES
    ]


@contextmanager
def behind(name: str, backend: str, folder: Path, idle_s: float = 60) -> Iterator[str]:
    """Run a reverse proxy. Yield its URL.

    Args:
        backend: The service, as ``address:port``.
        idle_s: How long the proxy keeps an idle connection to the service. It must be shorter than the service does.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with run_proxy(name, PROXIES[name](folder, port, backend, idle_s), f"{url}/readyz", folder):
        yield url


@contextmanager
def run_proxy(
    name: str, arguments: list[str], health_url: str, folder: Path, verify: ssl.SSLContext | bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a proxy. Yield its process as soon as it answers 200 at ``health_url``.

    Args:
        verify: What the certificate of ``health_url`` must be trusted by.
    """
    command = [str(find_command(name)), *arguments]
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until_it_answers(health_url, folder / "proxy.log", verify)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_until_it_answers(url: str, log: Path, verify: ssl.SSLContext | bool) -> None:
    """Wait until a URL answers 200."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, verify=verify).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise TimeoutError(log.read_text())


def post_pictures(url: str, pictures: Sequence[tuple[int, bytes]], pauses_s: Iterable[float]) -> Counter[str]:
    """Post a picture after each pause, on one connection, as long as that stays open.

    Args:
        url: Of the service or a proxy.
        pictures: Digits and their files.
        pauses_s: One for each request.

    Returns:
        The count of each outcome: ``right`` if the answer has the request's own ID and the right digit.
    """
    counts: Counter[str] = Counter()
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    for pause, (digit, picture), number in zip(pauses_s, itertools.cycle(pictures), itertools.count(), strict=False):
        time.sleep(pause)
        request_id = f"{CLIENT_ID}-{id(connection)}-{number}"
        try:
            connection.request("POST", "/predict", picture, {"Content-Type": "image/png", "X-Request-ID": request_id})
            answer = connection.getresponse()
            body = answer.read()
        except (http.client.HTTPException, OSError) as error:
            counts[repr(error)] += 1
            connection.close()
            continue
        is_own = answer.headers["X-Request-ID"] == request_id
        is_right = answer.status == httpx.codes.OK and is_own and loads(body)["digit"] == digit
        counts["right" if is_right else f"{answer.status}: {body[:100]!r}"] += 1
    connection.close()
    return counts
