"""The rules, the alerts, the dashboard and the compose file of deploy/, checked with the tools that read them."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import yaml

from app.inference.model_folder import ModelFolder
from tests.app.http.routes.test_batch import send
from tests.support.pictures import Grey, png
from tests.support.prometheus import FOLDER, needs_prometheus, watched
from tests.support.running import ROOT, Server, running

DEPLOY = ROOT / "deploy"
DRIFT = 0.25
SIGNALS = {"confidence", "typicality", "ink_ratio", "digit"}
PSI = "digits:signal:psi30m"


@needs_prometheus
@pytest.mark.parametrize(
    ("kind", "file"),
    [("check rules", "rules.yml"), ("check config", "prometheus.yml"), ("test rules", "rules.test.yml")],
)
def test_promtool_accepts_the_files(kind: str, file: str) -> None:
    """Rules and configuration are well-formed, and the rules give the values that were worked out by hand."""
    done = subprocess.run(
        ["promtool", *kind.split(), str(FOLDER / file)], capture_output=True, text=True, check=False, cwd=FOLDER
    )
    assert done.returncode == 0, done.stdout + done.stderr


def feed(server: Server, pictures: Grey) -> None:
    """Send pictures ``(N, 28, 28)`` in batches of a hundred."""
    for start in range(0, len(pictures), 100):
        send(server, [png(picture) for picture in pictures[start : start + 100]]).raise_for_status()


@needs_prometheus
@pytest.mark.slow
def test_drift_raises_an_alert(data_dir: Path, released: ModelFolder) -> None:
    """Held-out digits match the reference in each statistic. Then the pen runs dry: thin, broken strokes raise
    every index above the alert's threshold, except that of the digits read."""
    from training.data.mnist import hold_out, load  # takes seconds to import, in each of pytest's processes

    _, held_out = hold_out(load(data_dir, "train"), released.manifest.training["data"]["held_out"]["mnist"])
    digits = held_out.images.numpy()[np.random.default_rng(0).permutation(len(held_out))]
    with running() as server, watched(server) as prometheus:

        def index() -> dict[str, float]:
            return {dict(labels)["signal"]: value for labels, value in prometheus.query(PSI).items()}

        feed(server, digits[:1000])
        prometheus.wait(
            "sum(increase(digits_predictions_total[30m])) >= bool 1000", lambda found: 1.0 in found.values()
        )
        prometheus.wait(PSI, lambda found: len(found) == len(SIGNALS))
        assert {signal: value for signal, value in index().items() if value > DRIFT / 2} == {}
        assert prometheus.firing() == set()
        feed(server, np.stack([cv2.erode(digit, np.ones((3, 2))) for digit in digits[1000:3000]]))
        prometheus.wait('ALERTS{alertname="DigitsDrift",alertstate="firing"}', lambda found: len(found) == 3)
        assert prometheus.firing() == {
            (("alertname", "DigitsDrift"), ("signal", signal)) for signal in SIGNALS - {"digit"}
        }
        assert index()["digit"] < DRIFT / 2
        assert min(index()[signal] for signal in SIGNALS - {"digit"}) > DRIFT


@needs_prometheus
def test_overload_raises_an_alert(seven: Grey) -> None:
    """A service with a slow engine that accepts one request at a time: no alert until eight clients send at once."""
    stop = threading.Event()
    with (
        running("--max-inflight", "1", module="benchmarks.faulty_server", FAULTY_SLOW_MS="100") as server,
        watched(server) as prometheus,
    ):

        def send_forever() -> None:
            with httpx.Client() as client:
                while not stop.is_set():
                    client.post(f"{server.url}/predict", files={"file": png(seven)})
                    stop.wait(0.05)

        assert prometheus.firing() == set()
        threads = [threading.Thread(target=send_forever) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            firing = (("alertname", "DigitsOverloaded"),)
            prometheus.wait("ALERTS", lambda _: firing in prometheus.firing())
            assert prometheus.firing() == {firing}
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def expressions(rules: bool = True) -> list[str]:
    """Return every PromQL expression of the dashboard, with its variables filled in, and of the rules."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "digitserve.json").read_text())
    texts = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(texts) >= len(dashboard["panels"]) > 10
    texts = [text.replace("$__rate_interval", "1m").replace("$job", "digitserve|other") for text in texts]
    return texts + [rule["expr"] for rule in list_rules()] * rules


def list_rules() -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]


def metric_names(expression: str) -> set[str]:
    """Return the metrics in an expression: what is left without labels, strings, numbers and functions."""
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\b(?:by|on|group_left|ignoring|without)\s*\([^)]*\)|\{[^}]*\}|\[[^\]]*\]", " ", text)
    words = re.findall(r"[A-Za-z_:][\w:]*(?!\w*\s*\()", text)
    return set(words) - {"or", "and", "unless", "bool", "group_left"}


def exported_names(server: Server) -> set[str]:
    """Return the names of all series that a service exports."""
    text = httpx.get(f"{server.url}/metrics").text
    return {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_every_expression_uses_existing_metrics(server: Server) -> None:
    """Each expression of the dashboard and the rules names metrics that the service exports or a rule records."""
    recorded = {rule["record"] for rule in list_rules() if "record" in rule}
    known = exported_names(server) | recorded | {"up", "ALERTS"}
    used: set[str] = set()
    for expression in expressions():
        assert metric_names(expression), expression
        assert metric_names(expression) <= known, expression
        used |= metric_names(expression)
    assert used >= {"digits_queue_size", "digits_confidence_bucket", "digits_reference_ratio", "digits_ready"}


@needs_prometheus
def test_prometheus_understands_the_dashboard(server: Server, digits: list[tuple[int, Grey]]) -> None:
    """Each expression is valid, and each one that does not need half an hour of data has a value."""
    with watched(server) as prometheus:
        send(server, [png(image) for _, image in digits])
        httpx.post(f"{server.url}/predict", files={"file": png(digits[0][1])})
        prometheus.wait('increase(http_requests_total{path="/predict"}[1m])', bool)
        empty = [expression for expression in expressions(rules=False) if not prometheus.query(expression)]
    assert all(re.search("digits:live|psi|ALERTS|rejected", expression) for expression in empty), empty


def test_the_dashboard_is_consistent() -> None:
    """Its data source is the provisioned one, and no panel covers another."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "digitserve.json").read_text())
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    covered: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert {source["uid"]} == {each["datasource"]["uid"] for each in (panel, *panel["targets"])}
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert not cells & covered
        assert max(column for column, _ in cells) < 24
        covered |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def load_compose_file() -> dict[str, dict[str, dict[str, object]]]:
    services: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return services


def test_the_compose_file_is_valid() -> None:
    """It matches the schema of the Compose Specification."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_parts_of_the_compose_file_fit_together() -> None:
    """Mounted files exist and are where their reader looks for them. Host names match the services, which only this
    machine can reach."""
    services = load_compose_file()["services"]
    assert services["digitserve"]["read_only"] is True
    for service in services.values():
        ports, volumes = service["ports"], service.get("volumes", [])
        assert isinstance(ports, list)
        assert isinstance(volumes, list)
        assert all(port.startswith("127.0.0.1:") for port in ports)
        for volume in volumes:
            source, target, *_ = volume.split(":")
            assert source in load_compose_file()["volumes"] or (DEPLOY / source).is_dir()
            if source == "./grafana/dashboards":
                provider = (DEPLOY / "grafana" / "provisioning" / "dashboards" / "digitserve.yml").read_text()
                assert yaml.safe_load(provider)["providers"][0]["options"]["path"] == target
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["digitserve:8000"]}]
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert sources[0]["url"] == "http://prometheus:9090"
    assert {"digitserve", "prometheus"} <= set(services)


def test_the_document_has_every_metric_and_alert(server: Server) -> None:
    """docs/monitoring.md has exactly the metrics that the service exports and the alerts that the rules define."""
    text = (ROOT / "docs" / "monitoring.md").read_text()
    counts = text.partition("## Metrics")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", counts, re.M)
    documented = {name for row in rows for name in re.findall(r"`([a-z_]+)", row)}
    assert documented == {re.sub("_(bucket|count|sum)$", "", name) for name in exported_names(server)}
    alerts = text.partition("## Alerts")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", alerts, re.M) != []
    assert set(re.findall(r"^\| `(\w+)` \|", alerts, re.M)) == {
        rule["alert"] for rule in list_rules() if "alert" in rule
    }
