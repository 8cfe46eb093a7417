"""A real Prometheus that watches a real service, with the rules of ``deploy/``, once a second."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.ports import free_port
from tests.support.running import ROOT, Server

FOLDER = ROOT / "deploy" / "prometheus"
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="prometheus is not installed (Debian: apt install prometheus)",
)
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, expression: str) -> dict[Labels, float]:
        """The value of each series of an instant vector, by its labels but the job and the instance."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        return {
            tuple(sorted((k, v) for k, v in series["metric"].items() if k not in ("job", "instance"))): float(
                series["value"][1]
            )
            for series in answer["data"]["result"]
        }

    def firing(self) -> set[Labels]:
        """The alerts that fire, by their labels."""
        names = ("alertname", "signal")
        return {
            tuple((name, dict(labels)[name]) for name in names if name in dict(labels))
            for labels in self.query('ALERTS{alertstate="firing"}')
        }

    def wait(self, expression: str, until: Callable[[dict[Labels, float]], bool]) -> dict[Labels, float]:
        """Ask until the answer is as it should become."""
        deadline = time.monotonic() + 20
        while not until(found := self.query(expression)):
            assert time.monotonic() < deadline, f"{expression} is {found}"
            time.sleep(0.2)
        return found


@contextmanager
def watched(server: Server) -> Iterator[Prometheus]:
    """Have Prometheus watch a service until the block ends, with its own configuration but for where the service is and
    how long a second is: alerts fire at once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{server.port}"]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        rules = yaml.safe_load((FOLDER / "rules.yml").read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
        (folder / "rules.yml").write_text(yaml.safe_dump(rules))
        port = free_port()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            prometheus = Prometheus(f"http://127.0.0.1:{port}")
            wait_until_ready(process, prometheus.url, folder / "log")
            prometheus.wait("digits_confidence_count", bool)
            yield prometheus
        finally:
            process.terminate()
            process.wait(timeout=20)


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"prometheus ended with {process.returncode}:\n{log.read_text()}")
        with suppress(httpx.ConnectError):
            if httpx.get(f"{url}/-/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(log.read_text())
