"""The manifests of deploy/kubernetes: Kubernetes accepts them, and they agree with each other and with the service."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from benchmarks.failover import customize
from tests.support.kubectl import MANIFESTS, Manifest, render
from tests.support.pictures import Grey, png
from tests.support.prometheus import FOLDER, needs_prometheus, watched
from tests.support.running import ROOT, Server, running

OVERLAYS = ("cpu", "cuda", "monitoring", "autoscaling")
KUBERNETES_VERSIONS = ("1.33", "1.37")
PROMETHEUS_OPERATOR = "monitoring.coreos.com/v1"
MEMORY_UNITS = {"Mi": 2**20, "Gi": 2**30}
IDLE_BYTES = 160_000_000  # of the service with its model: docs/figures.md
BYTES_PER_PIXEL = 6  # at most, in any format: tests/app/http/test_hostile_images.py

each_overlay = pytest.mark.parametrize("name", OVERLAYS)
each_template = pytest.mark.parametrize("name", ["cpu", "cuda", "kserve"])


def overlay(name: str) -> dict[str, Manifest]:
    return render(MANIFESTS / "overlays" / name)


def pod_template(name: str) -> Manifest:
    """Return the pod that an overlay's Deployment makes, or that KServe makes of the runtime and the predictor."""
    if name != "kserve":
        template: Manifest = overlay(name)["Deployment"]["spec"]["template"]
        return template
    manifests = render(MANIFESTS / "kserve")
    predictor = manifests["InferenceService"]["spec"]["predictor"]
    return {"spec": predictor | {"containers": manifests["ServingRuntime"]["spec"]["containers"]}}


def only_container(name: str) -> dict[str, Any]:
    container: dict[str, Any]
    (container,) = pod_template(name)["spec"]["containers"]
    return container


def read_settings(name: str) -> Settings:
    """Return the settings of a pod. Each of its variables must be one."""
    variables = {variable["name"].lower(): variable["value"] for variable in only_container(name)["env"]}
    assert variables.keys() <= {f"digits_{field}" for field in Settings.model_fields}
    return Settings(_env_file=None, **{name.removeprefix("digits_"): value for name, value in variables.items()})


def to_bytes(quantity: str) -> int:
    return int(quantity[:-2]) * MEMORY_UNITS[quantity[-2:]]


@each_overlay
def test_kubernetes_accepts_the_manifests(name: str) -> None:
    """Each has only fields that Kubernetes, or the Prometheus operator, knows, with values of the right type."""
    for kind, manifest in overlay(name).items():
        if manifest["apiVersion"] == PROMETHEUS_OPERATOR:
            from cloudcoil.models.prometheus_operator import v1 as prometheus_operator  # takes seconds to import

            model = getattr(prometheus_operator, kind).model_validate(manifest)
            assert model.model_dump(mode="json", by_alias=True, exclude_none=True) == manifest  # drops unknown fields
        else:
            for version in KUBERNETES_VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)


@each_template
def test_the_variables_are_settings_and_the_times_fit(name: str) -> None:
    """Kubernetes waits as long as the service may need to stop, and readiness fails well before the drain ends."""
    settings, container, spec = read_settings(name), only_container(name), pod_template(name)["spec"]
    before_signal_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= before_signal_s + settings.grace_s + 1
    assert settings.grace_s >= (settings.drain_ms + settings.deadline_ms) / 1000 + 1
    readiness = container["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < settings.drain_ms / 1000
    assert container["livenessProbe"]["timeoutSeconds"] > settings.deadline_ms / 1000


@each_template
def test_the_memory_limit_is_what_the_settings_can_need(name: str) -> None:
    """All bodies and all large pictures that the service accepts at once fit into the limit."""
    settings = read_settings(name)
    needed = IDLE_BYTES + BYTES_PER_PIXEL * settings.max_inflight_pixels + settings.max_inflight_bytes
    assert to_bytes(only_container(name)["resources"]["limits"]["memory"]) >= needed


@each_template
def test_the_service_answers_what_the_manifests_ask(name: str, server: Server) -> None:
    """Each probe asks the port on which the image listens, and gets 200."""
    container = only_container(name)
    (port,) = container["ports"]
    variables = dict(re.findall(r"(DIGITS_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    assert variables == {"DIGITS_HOST": "0.0.0.0", "DIGITS_PORT": str(port["containerPort"])}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        request = container[probe]["httpGet"]
        assert request["port"] in (port["name"], port["containerPort"])
        assert httpx.get(f"{server.url}{request['path']}").status_code == 200


@each_template
def test_the_pods_have_no_privileges(name: str) -> None:
    """They meet the Pod Security Standard "restricted", and more: a read-only root, and no token."""
    spec, container = pod_template(name)["spec"], only_container(name)
    context = spec.get("securityContext", {}) | container["securityContext"]
    user, group = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.M)[0]
    assert context == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)


@each_overlay
def test_each_manifest_finds_the_others(name: str) -> None:
    """Selectors select the pods, and ports, hosts and names are the same wherever they occur."""
    manifests = overlay(name)
    deployment, service = manifests["Deployment"], manifests["Service"]
    template = deployment["spec"]["template"]
    policy, ingress = manifests["NetworkPolicy"]["spec"], manifests["Ingress"]["spec"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        policy["podSelector"]["matchLabels"],
        *(rule["labelSelector"]["matchLabels"] for rule in template["spec"]["topologySpreadConstraints"]),
    ]
    assert all(selector and selector.items() <= template["metadata"]["labels"].items() for selector in selectors)

    (container_port,), (service_port,) = template["spec"]["containers"][0]["ports"], service["spec"]["ports"]
    assert service_port["targetPort"] == container_port["name"]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": container_port["name"]}]]
    assert policy["egress"] == []
    (rule,) = ingress["rules"]
    backend = {"name": service["metadata"]["name"], "port": {"name": service_port["name"]}}
    assert [path["backend"]["service"] for path in rule["http"]["paths"]] == [backend]
    assert [tls["hosts"] for tls in ingress["tls"]] == [[rule["host"]]]
    assert template["spec"]["serviceAccountName"] == manifests["ServiceAccount"]["metadata"]["name"]
    namespaces = {manifest["metadata"].get("namespace") for manifest in manifests.values()} - {None}
    assert namespaces == {manifests["Namespace"]["metadata"]["name"]}


@each_overlay
def test_a_rollout_keeps_the_capacity(name: str) -> None:
    """A rollout takes no pod away before its successor is ready, and an eviction takes one of at least two."""
    manifests = overlay(name)
    assert manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    autoscaler = manifests.get("HorizontalPodAutoscaler", {"spec": {}})["spec"]
    replicas = [manifests["Deployment"]["spec"].get("replicas"), autoscaler.get("minReplicas")]
    (fewest,) = (number for number in replicas if number is not None)
    assert fewest > manifests["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_prometheus_gets_the_same_rules_and_the_job_that_they_use(server: Server) -> None:
    """The PrometheusRule is deploy/prometheus/rules.yml, and the ServiceMonitor finds the metrics."""
    manifests = overlay("monitoring")
    assert manifests["PrometheusRule"]["spec"] == yaml.safe_load((FOLDER / "rules.yml").read_text())
    monitor, service = manifests["ServiceMonitor"]["spec"], manifests["Service"]
    labels = service["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    (scrape,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert labels[monitor["jobLabel"]] == scrape["job_name"]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert "digits_ready 1.0" in httpx.get(f"{server.url}{endpoint['path']}").text


@needs_prometheus
def test_the_autoscaler_uses_a_metric_that_the_adapter_computes(seven: Grey) -> None:
    """The adapter's query gives Prometheus the requests in flight of each pod, under the autoscaler's name for it."""
    autoscaler = overlay("autoscaling")["HorizontalPodAutoscaler"]["spec"]
    values = yaml.safe_load((MANIFESTS / "components" / "autoscaling" / "prometheus-adapter.yaml").read_text())
    (rule,) = values["rules"]["custom"]
    names = [metric["pods"]["metric"]["name"] for metric in autoscaler["metrics"] if metric["type"] == "Pods"]
    assert names == [rule["name"]["as"]]
    assert {metric["type"] for metric in autoscaler["metrics"]} == {"Pods", "Resource"}
    query = rule["metricsQuery"].replace("<<.GroupBy>>", "instance").replace("<<.LabelMatchers>>", 'job="digitserve"')
    query = query.replace("<<.Series>>", rule["seriesQuery"].partition("{")[0])
    with running() as server, watched(server) as prometheus, httpx.Client() as client:

        def is_in_flight(found: dict[Any, float]) -> bool:
            client.post(f"{server.url}/predict", files={"file": png(seven)})
            return sum(found.values()) > 0

        assert len(prometheus.wait(query, is_in_flight)) == 1


def test_a_model_has_its_own_image() -> None:
    """The component mounts the image that the user's overlay names where the service looks for its model."""
    spec = customize("registry.example.org/digitserve:1.2", "registry.example.org/digitserve-model:3.4")["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "registry.example.org/digitserve:1.2"
    assert spec["volumes"] == [{"name": "model", "image": {"reference": "registry.example.org/digitserve-model:3.4"}}]
    assert container["volumeMounts"] == [{"name": "model", "mountPath": "/model", "readOnly": True}]
    assert {"name": "DIGITS_MODEL", "value": "/model"} in container["env"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "digitserve"}, "spec": spec}
    kubernetes_validate.validate(pod, KUBERNETES_VERSIONS[0], strict=True)


def test_the_documented_overlays_render(tmp_path: Path) -> None:
    """The overlays of docs/kubernetes.md name the user's image, host and model wherever they occur."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    for mode, file, content in re.findall(r"^cat (>+) (\S+) <<'END'\n(.*?)^END$", text, re.M | re.S):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text((path.read_text() if mode == ">>" else "") + content)
    manifests = render(tmp_path / "mine")
    spec = manifests["Deployment"]["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "registry.example.org/digitserve:0.1.0"
    assert spec["volumes"][0]["image"] == {"reference": "registry.example.org/digitserve-model:1.7.0"}
    assert "digits.example.org" not in json.dumps(manifests["Ingress"])
    (container,) = render(tmp_path / "mine-kserve")["ServingRuntime"]["spec"]["containers"]
    assert container["image"] == "registry.example.org/digitserve:0.1.0"
