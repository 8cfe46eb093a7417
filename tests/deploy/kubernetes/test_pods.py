"""The rendered manifests, run as pods that are killed, drained and rolled under load, and read by kserve's client.

The pods are those of the image that the Dockerfile builds. `python -m benchmarks.failover` prints the figures.
"""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.inference.model_folder import ModelFolder
from benchmarks.failover import PROGRAMS, REPLICAS, Outcome, run_rounds
from tests.deploy.kubernetes.test_manifests import pod_template
from tests.support.container_image import build_image, find_missing
from tests.support.kubectl import MANIFESTS, render
from tests.support.pods import running_node
from tests.support.running import ROOT

KSERVE = "kserve==0.21.0"

pytestmark = [pytest.mark.container, pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """What runs the pods. Without it, the tests are skipped."""
    if reason := find_missing(*PROGRAMS):
        pytest.skip(reason)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What became of the requests: by event."""
    return {outcome.name: outcome for outcome in run_rounds()}


@pytest.mark.parametrize("event", ["a pod is killed", "its memory is full"])
def test_only_the_requests_of_a_killed_pod_are_lost(event: str, outcomes: dict[str, Outcome]) -> None:
    """A pod dies at once. The others answer everything else, and there are soon as many pods as before."""
    outcome = outcomes[event]
    assert outcome.lost_elsewhere == []
    assert outcome.killed in {answer.pod for answer in outcome.answers}
    assert len({answer.pod for answer in outcome.answers[-50:]}) == REPLICAS


@pytest.mark.parametrize("event", ["a pod is drained", "a new model", "a damaged model", "back to the old model"])
def test_nothing_is_lost_when_a_pod_stops_in_order(event: str, outcomes: dict[str, Outcome]) -> None:
    """Each request gets the right digit while pods are drained and replaced."""
    outcome = outcomes[event]
    assert outcome.answers != []
    assert outcome.lost == []


def test_a_model_is_rolled_out_and_back(outcomes: dict[str, Outcome], released: ModelFolder) -> None:
    """Both models answer during a rollout, and only the new one after it. A damaged model never answers."""
    old, new = f"{released.manifest.name}-{released.manifest.version}", "textbook-1.0.0"
    models = {name: [answer.model for answer in outcome.answers] for name, outcome in outcomes.items()}
    assert set(models["a new model"]) == {old, new}
    assert set(models["a damaged model"]) == {new}
    assert set(models["back to the old model"]) == {old, new}
    assert models["back to the old model"][-1] == old


def test_kserve_reads_digits(released: ModelFolder) -> None:
    """kserve knows each field of its manifests, and its client reads digits from the pod that they describe."""
    template = copy.deepcopy(pod_template("kserve"))
    template["spec"]["containers"][0]["image"] = build_image()
    manifests = render(MANIFESTS / "kserve")
    golden = released.manifest.golden
    with running_node() as node:
        pod = node.start(template, node.addresses[0])
        pod.wait_until_ready()
        request = {
            "url": pod.url,
            "model": manifests["InferenceService"]["metadata"]["name"],
            "images": [digit.image.tolist() for digit in golden],
            "manifests": list(manifests.values()),
        }
        uv = Path(sys.executable).with_name("uv")
        environment = ["--quiet", "--no-project", "--python", sys.executable, "--with", KSERVE]
        if subprocess.run([uv, "run", *environment, "true"], capture_output=True, check=False).returncode:
            pytest.skip(f"uv cannot install {KSERVE}")
        done = subprocess.run(
            [uv, "run", *environment, ROOT / "tests/support/kserve_client.py"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [digit.digit for digit in golden]
