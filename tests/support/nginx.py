"""A real nginx as a reverse proxy. Without it, the tests that need it are skipped."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.proxies import find_command, run_proxy
from tests.support.running import Server

needs_nginx = pytest.mark.skipif(
    find_command("nginx") is None, reason="nginx is not installed (Debian: apt install nginx-light)"
)


@contextmanager
def behind_nginx(server: Server, folder: Path) -> Iterator[str]:
    """Run a reverse proxy with the service under /digits, set up as the documentation says. Yield its URL."""
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
    url = f"http://127.0.0.1:{port}/digits"
    with run_proxy("nginx", ["-c", str(config)], f"{url}/livez", folder):
        yield url
