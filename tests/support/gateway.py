"""HAProxy in front of pods, as a gateway: it sends requests only to pods whose readiness check succeeds."""

import csv
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.kubectl import Manifest
from tests.support.ports import free_port
from tests.support.proxies import run_proxy


@dataclass(frozen=True)
class Gateway:
    """A gateway. Its answers name the address of the pod in the header ``X-Pod``."""

    port: int

    def list_ready(self) -> set[str]:
        """Return the addresses of the pods that get requests."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats;csv") as answer:
            table = answer.read().decode().removeprefix("# ")
        return {
            row["svname"]
            for row in csv.DictReader(table.splitlines())
            if row["svname"] not in ("FRONTEND", "BACKEND") and row["status"] == "UP"
        }


@contextmanager
def running_gateway(addresses: list[str], template: Manifest) -> Iterator[Gateway]:
    """Run HAProxy in front of all addresses that pods may have. At least one pod must be ready.

    A connection that cannot be made is tried again with another pod. A request that was sent is not.
    """
    container = template["spec"]["containers"][0]
    path, port = container["readinessProbe"]["httpGet"]["path"], container["ports"][0]["containerPort"]
    servers = "\n".join(f"  server {address} {address}:{port}" for address in addresses)
    gateway = Gateway(free_port())
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "haproxy.cfg"
        config.write_text(
            f"""defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 10s
frontend in
  bind 127.0.0.1:{gateway.port}
  stats enable
  stats uri /stats
  http-after-response set-header X-Pod %[srv_name]
  default_backend pods
backend pods
  balance leastconn
  option redispatch 1
  option httpchk GET {path}
  timeout check 3s
  default-server check inter 200ms fall 1 rise 1
{servers}
"""
        )
        with run_proxy("haproxy", ["-db", "-f", str(config)], f"http://127.0.0.1:{gateway.port}{path}", Path(name)):
            yield gateway
