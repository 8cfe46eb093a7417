"""Run the Kubernetes manifests as pods behind a gateway, and disturb them under load.

    python -m benchmarks.failover [--rounds 5]

The overlay for the CPU is rendered, and two of its pods run with podman and runc, with the image of the Dockerfile and
HAProxy in front. This program does the Deployment controller's part: it starts and stops pods. It needs root, podman,
runc, catatonit, buildah, haproxy, ip and the base image.

Per round: a pod is killed; the memory of another one fills up, so that the kernel kills it; a pod is drained; both pods
are rolled to a new model; a damaged model is rolled out; both pods are rolled back. Only requests that a killed pod was
answering may be lost.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.steady_clients import CLIENTS, TIMEOUT_S, Answer, sending
from tests.support.container_image import build_image, find_missing, run_buildah
from tests.support.gateway import Gateway, running_gateway
from tests.support.kubectl import MANIFESTS, Manifest, render
from tests.support.pods import Node, Pod, running_node
from tests.support.running import ROOT

PROGRAMS = ("podman", "runc", "catatonit", "haproxy", "ip")
REPLICAS = 2
QUIET_S = 1.0  # of load after each event
OTHER_MODEL = ROOT / "models" / "textbook-1.0.0"
MODEL_IMAGE = "localhost/digitserve-test-model"


@dataclass(frozen=True)
class Outcome:
    """What an event did to the answers."""

    name: str
    answers: list[Answer]
    killed: str | None  # the address of the pod that was killed
    gone: float  # when all of its processes had ended
    seconds: float  # from the event until as many pods as before get requests

    @property
    def lost(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.failure]

    @property
    def lost_elsewhere(self) -> list[Answer]:
        """Failed requests that the killed pod was not answering when it was killed.

        It was answering at most one request of each client, which started before the pod was gone. HAProxy does not
        name the pod if it closes the connection instead of answering.
        """
        last = {answer.client: answer for answer in self.lost if answer.pod in (self.killed, "")}
        excused = [answer for answer in last.values() if self.killed and answer.started < self.gone]
        return [answer for answer in self.lost if answer not in excused]


def customize(image: str, model_image: str | None = None) -> Manifest:
    """Return the template of the pods, from an overlay as users write it: two replicas, this image, and this model."""
    overlay: Manifest = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "replicas": [{"name": "digitserve", "count": REPLICAS}],
    }
    images = {"digitserve": image} | ({"digitserve-model": model_image} if model_image else {})
    overlay["images"] = [
        {"name": name, "newName": new.rpartition(":")[0], "newTag": new.rpartition(":")[2]}
        for name, new in images.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        overlay["resources"] = [os.path.relpath(MANIFESTS / "overlays" / "cpu", folder)]
        if model_image:
            overlay["components"] = [os.path.relpath(MANIFESTS / "components" / "model", folder)]
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        spec = render(Path(folder))["Deployment"]["spec"]
    assert spec["replicas"] == REPLICAS
    template: Manifest = spec["template"]
    return template


@contextmanager
def model_images() -> Iterator[tuple[str, str]]:
    """Build the images of another model and of a damaged one. Yield their names, and remove the images at the end."""
    with tempfile.TemporaryDirectory() as folder:
        damaged = Path(shutil.copytree(OTHER_MODEL, Path(folder) / "model"))
        graph = next(damaged.glob("*.onnx"))
        graph.write_bytes(graph.read_bytes()[:-10])
        images = {f"{MODEL_IMAGE}:other": OTHER_MODEL, f"{MODEL_IMAGE}:damaged": damaged}
        for image, model in images.items():
            run_buildah("bud", "-q", "-f", str(MANIFESTS / "model.Dockerfile"), "-t", image, str(model))
    try:
        other, bad = images
        yield other, bad
    finally:
        run_buildah("rmi", *images)


@dataclass
class Drill:
    """Pods behind a gateway under load, and what the controller of a Deployment does with them."""

    node: Node
    gateway: Gateway
    answers: list[Answer]
    template: Manifest
    pods: list[Pod]
    free: list[str]  # addresses without a pod
    pool: ThreadPoolExecutor
    stopping: list[Future[None]] = field(default_factory=list)
    happened: float = 0.0  # when the last event happened
    gone: float = 0.0  # when a pod that was killed had ended

    def observe(self, name: str, event: Callable[[], str | None]) -> Outcome:
        """Let something happen, and wait until the service is whole again. The event returns which pod was killed."""
        first = len(self.answers)
        self.happened = time.perf_counter()
        killed = event()
        wait_for(self.is_whole)
        seconds = time.perf_counter() - self.happened
        while self.stopping:
            self.stopping.pop().result()
        # If a pod takes its network with it, the gateway waits for answers until its time limit.
        wait_for(lambda: len({answer.client for answer in self.answers if answer.started > self.happened}) == CLIENTS)
        time.sleep(QUIET_S)
        return Outcome(name, self.answers[first:], killed, self.gone, seconds)

    def is_whole(self) -> bool:
        return self.gateway.list_ready() == {pod.address for pod in self.pods}

    def kill(self) -> str:
        """Kill a pod, and start another one in its place."""
        victim = self.pods[0]
        victim.kill()
        self.gone = time.perf_counter()
        self._retire(victim, victim.remove)
        self._start()
        return victim.address

    def fill_memory(self) -> str:
        """Fill the memory of a pod, so that the kernel kills the service. podman restarts it, as a kubelet does."""
        victim = self.pods[0]
        restarts = victim.restarts
        victim.fill_memory()
        self.happened = self.gone = time.perf_counter()
        wait_for(lambda: victim.restarts > restarts, every_s=0.5)
        return victim.address

    def drain(self) -> None:
        """Evict a pod, as ``kubectl drain`` does: it stops while another one starts in its place."""
        self._retire(self.pods[0], self.pods[0].stop)
        self._start()

    def roll(self, template: Manifest) -> None:
        """Replace each pod: start a new one, wait until it gets requests, and let the old one stop."""
        self.template = template
        for old in list(self.pods):
            self._start()
            wait_for(self.is_whole)
            self._retire(old, old.stop)

    def fail_to_roll(self, template: Manifest) -> None:
        """Start a pod that cannot become ready. When it has failed and is started again, give up and remove it."""
        new = self.node.start(template, self.free[0])
        wait_for(lambda: new.restarts > 0, every_s=0.5)
        new.remove()

    def _start(self) -> None:
        self.pods.append(self.node.start(self.template, self.free.pop(0)))

    def _retire(self, pod: Pod, end: Callable[[], None]) -> None:
        def retire() -> None:
            end()
            self.free.append(pod.address)

        self.pods.remove(pod)
        self.stopping.append(self.pool.submit(retire))


def wait_for(condition: Callable[[], bool], every_s: float = 0.05) -> None:
    """Check a condition again and again until it holds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(every_s)


@contextmanager
def drilling(template: Manifest) -> Iterator[Drill]:
    """Run the pods of a Deployment behind a gateway, under load, until the block ends."""
    with running_node() as node:
        addresses = node.addresses[: 2 * REPLICAS]  # old pods may still be stopping while the last new one starts
        pods = [node.start(template, address) for address in addresses[:REPLICAS]]
        for pod in pods:
            pod.wait_until_ready()
        with running_gateway(addresses, template) as gateway, ThreadPoolExecutor() as pool:
            drill = Drill(node, gateway, [], template, pods, addresses[REPLICAS:], pool)
            wait_for(drill.is_whole)
            with sending(gateway.port, drill.answers):
                yield drill


def run_rounds(rounds: int = 1) -> Iterator[Outcome]:
    """Run the drill. Yield what each event did."""
    image = build_image()
    old = customize(image)
    with model_images() as (other, damaged), drilling(old) as drill:
        new, bad = customize(image, other), customize(image, damaged)
        for _ in range(rounds):
            yield drill.observe("a pod is killed", drill.kill)
            yield drill.observe("its memory is full", drill.fill_memory)
            yield drill.observe("a pod is drained", drill.drain)
            yield drill.observe("a new model", lambda: drill.roll(new))
            yield drill.observe("a damaged model", lambda: drill.fail_to_roll(bad))
            yield drill.observe("back to the old model", lambda: drill.roll(old))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each event happens [%(default)s]")
    arguments = parser.parse_args()
    if reason := find_missing(*PROGRAMS):
        parser.error(reason)
    failed = False
    print(f"{REPLICAS} pods, {CLIENTS} clients. Whole: {REPLICAS} pods get requests again.")
    print(f"{'event':22} {'requests':>9} {'lost by the killed pod':>23} {'lost otherwise':>15} {'whole after':>12}")
    for outcome in run_rounds(arguments.rounds):
        elsewhere = outcome.lost_elsewhere
        failed |= bool(elsewhere)
        counts = f"{len(outcome.answers):9} {len(outcome.lost) - len(elsewhere):23} {len(elsewhere):15}"
        print(f"{outcome.name:22} {counts} {outcome.seconds:10.1f} s", flush=True)
        for answer in elsewhere:
            print(f"    {answer.pod or 'unknown pod'}: {answer.failure}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
