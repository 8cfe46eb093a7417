"""The configurations of nginx and Caddy in deploy/, run as they are, except for ports, the certificate and names."""

import itertools
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.proxies import find_command, run_proxy
from tests.support.running import ROOT, running

NAME = "digits.example.org"
PICTURE = (ROOT / "docs" / "examples" / "digits" / "7.png").read_bytes()
CLIENTS, PAUSE_S = 4, 0.1  # fewer requests than the limit of nginx's configuration

Configure = Callable[[Path, dict[str, str]], list[str]]


def fill_in(file: str, changes: dict[str, str]) -> str:
    """Return a file of deploy/ with changes, each of which must be possible."""
    text = (ROOT / "deploy" / file).read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx(folder: Path, ports: dict[str, str]) -> list[str]:
    """Write nginx's configuration, check it with ``nginx -t``, and return the arguments that run it."""
    certificates = f"/etc/letsencrypt/live/{NAME}"
    site = fill_in(
        "nginx/digitserve.conf",
        {
            "listen 80;": f"listen {ports['http']};",
            "listen 443 ssl;": f"listen {ports['https']} ssl;",
            f"{certificates}/fullchain.pem": str(folder / "certificate.pem"),
            f"{certificates}/privkey.pem": str(folder / "key.pem"),
            "127.0.0.1:8001": ports["8001"],
            "127.0.0.1:8002": ports["8002"],
        },
    )
    temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body; {temporary}\n{site}}}\n"
    )
    check("nginx", "-t", "-c", str(config))
    return ["-c", str(config)]


def caddy(folder: Path, ports: dict[str, str]) -> list[str]:
    """Write Caddy's configuration, check it with ``caddy validate``, and return the arguments that run it."""
    config = folder / "Caddyfile"
    config.write_text(
        fill_in(
            "caddy/Caddyfile",
            {
                f"{NAME} {{": f"https://localhost:{ports['https'].rpartition(':')[2]} {{\n"
                f"\tbind 127.0.0.1\n\ttls {folder}/certificate.pem {folder}/key.pem",
                "{\n\tservers {": "{\n\tadmin off\n\tauto_https disable_redirects\n\tservers {",
                "127.0.0.1:8001": ports["8001"],
                "127.0.0.1:8002": ports["8002"],
            },
        )
    )
    arguments = ["--config", str(config), "--adapter", "caddyfile"]
    check("caddy", "validate", *arguments)
    return ["run", *arguments]


def check(name: str, *arguments: str) -> None:
    """Run a proxy's own check of its configuration."""
    done = subprocess.run([str(find_command(name)), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def make_certificate(folder: Path) -> ssl.SSLContext:
    """Write a certificate for localhost and its key, and return a context that trusts it."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "certificate.pem"),
        ],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    return ssl.create_default_context(cafile=folder / "certificate.pem")


each_proxy = pytest.mark.parametrize(
    ("name", "configure"),
    [
        pytest.param(
            configure.__name__,
            configure,
            id=configure.__name__,
            marks=pytest.mark.skipif(
                find_command(configure.__name__) is None, reason=f"{configure.__name__} is not installed"
            ),
        )
        for configure in (nginx, caddy)
    ],
)


class Site:
    """A proxy with two instances of the service behind it, which can be restarted."""

    def __init__(self, ports: dict[str, str], stack: ExitStack, trust: ssl.SSLContext) -> None:
        self.ports, self.trust = ports, trust
        self.url = f"https://localhost:{ports['https'].rpartition(':')[2]}"
        self._instances = {port: stack.enter_context(ExitStack()) for port in ("8001", "8002")}
        for port in self._instances:
            self.start(port)

    def start(self, port: str) -> None:
        """Start an instance, and wait until it is ready."""
        flags = ("--port", self.ports[port].rpartition(":")[2])
        self._instances[port].enter_context(running(*flags, DIGITS_DRAIN_MS="2000"))

    def stop(self, port: str) -> None:
        """Stop an instance as systemd does, and wait until it has ended."""
        self._instances[port].close()

    def connect(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.trust)


@contextmanager
def run_site(name: str, configure: Configure, folder: Path) -> Iterator[Site]:
    """Run a proxy in front of two instances."""
    ports = {port: f"127.0.0.1:{free_port()}" for port in ("http", "https", "8001", "8002")}
    with ExitStack() as stack:
        site = Site(ports, stack, make_certificate(folder))
        health = f"{site.url}/readyz"
        with run_proxy(name, configure(folder, ports), health, folder, verify=site.trust):
            yield site


@each_proxy
def test_a_proxy_has_tls_and_limits(name: str, configure: Configure, tmp_path: Path) -> None:
    """Pictures are read over https, metrics are hidden, and larger bodies than a batch may have are refused."""
    with run_site(name, configure, tmp_path) as site, site.connect() as client:
        assert client.post("/predict", content=PICTURE).json()["digit"] == 7
        assert client.get("/metrics").status_code == 404
        assert client.post("/predict/batch", content=bytes(65 * 2**20)).status_code == 413
        if name == "nginx":
            redirect = httpx.post(f"http://{site.ports['http']}/predict", headers={"Host": NAME})
            assert (redirect.status_code, redirect.headers["Location"]) == (308, f"https://{NAME}/predict")
            many = [client.get("/livez").status_code for _ in range(400)]
            assert {200, 429} == set(many)


@pytest.mark.serial
@each_proxy
@pytest.mark.long
def test_a_restart_of_one_instance_after_the_other_loses_no_request(
    name: str, configure: Configure, tmp_path: Path
) -> None:
    """This is how docs/deploying.md says to upgrade. Meanwhile, all clients get the right answer to every request."""
    answers: list[object] = []
    stopping = threading.Event()

    def post_all_the_time(site: Site) -> None:
        with site.connect() as client:
            while not stopping.is_set():
                try:
                    answer = client.post("/predict", content=PICTURE)
                    answers.append(answer.json()["digit"] if answer.is_success else answer.status_code)
                except httpx.TransportError as error:
                    answers.append(error)
                time.sleep(PAUSE_S)

    with run_site(name, configure, tmp_path) as site:
        clients = [threading.Thread(target=post_all_the_time, args=[site]) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            for port in ("8001", "8002"):
                site.stop(port)
                site.start(port)
                time.sleep(2)  # as long as Caddy's health check needs, with some reserve
        finally:
            stopping.set()
            for client in clients:
                client.join()
    assert len(answers) > 100
    assert [(kind, len(list(group))) for kind, group in itertools.groupby(answers)] == [(7, len(answers))]
