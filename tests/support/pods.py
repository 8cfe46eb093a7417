"""Pods on this machine: what a kubelet does with the template of a pod, done by podman and runc.

podman differs from a kubelet in three ways. It would publish ports on this machine, so they are left out: each pod has
an address that this machine can reach. It would run probes with curl inside the container, so they are left out, too;
HAProxy asks from outside. And this version has no image volumes, so the model's image is mounted here.
"""

import copy
import json
import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import yaml

from tests.support.container_image import ENVIRONMENT
from tests.support.kubectl import Manifest

READY_TIMEOUT_S = 60
# The container's memory fills up, and the kernel must choose the service rather than this process.
FILL_MEMORY = """
open("/proc/1/oom_score_adj", "w").write("1000")
filling = []
while True:
    filling.append(b"x" * 10_000_000)
"""


@dataclass(frozen=True)
class Pod:
    """A pod with one container."""

    node: "Node"
    name: str
    address: str
    template: Manifest

    @property
    def container(self) -> str:
        return f"{self.name}-{self.template['spec']['containers'][0]['name']}"

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.template['spec']['containers'][0]['ports'][0]['containerPort']}"

    @property
    def is_ready(self) -> bool:
        path = self.template["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"]
        with suppress(OSError), urllib.request.urlopen(f"{self.url}{path}", timeout=2):
            return True
        return False

    @property
    def restarts(self) -> int:
        return int(self.node.podman("inspect", "--format", "{{.RestartCount}}", self.container))

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self.is_ready:
            if time.monotonic() > deadline:
                raise TimeoutError(self.node.podman("logs", self.container))
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill all processes of the pod at once, as ``kubectl delete pod --grace-period=0 --force`` does."""
        self.node.podman("pod", "kill", "--signal", "KILL", self.name)

    def fill_memory(self) -> None:
        """Use up the container's memory, until the kernel kills the service."""
        self.node.podman("exec", self.container, "python", "-c", FILL_MEMORY, check=False)

    def stop(self) -> None:
        """End the pod in order, and remove it: SIGTERM, and SIGKILL if the grace period ends. preStop only waits."""
        grace_s = self.template["spec"]["terminationGracePeriodSeconds"]
        self.node.podman("stop", "--time", str(grace_s), self.container)
        self.remove()

    def remove(self) -> None:
        self.node.podman("pod", "rm", "--force", "--time", "0", self.name)


class Node:
    """A network without access to anything else, and the pods in it."""

    def __init__(self, folder: Path) -> None:
        config = folder / "containers.conf"
        # Without low limits podman raises its own ones, which not every machine allows.
        config.write_text(
            '[containers]\ndefault_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            '[network]\nnetwork_backend = "netavark"\n'
        )
        self._folder = folder
        self._environment = {**ENVIRONMENT, "CONTAINERS_CONF": str(config)}
        self.name = f"digitserve-test-{os.getpid()}"
        self._started = 0
        self._mounted: list[str] = []
        # With DNS, because only then podman gives this machine an address in the network.
        self.podman("network", "create", "--internal", self.name)
        (network,) = json.loads(self.podman("network", "inspect", self.name))
        self.addresses = [str(address) for address in ip_network(network["subnets"][0]["subnet"]).hosts()][10:]

    def podman(self, *arguments: str, check: bool = True, text: str | None = None) -> str:
        """Run podman and return its output. ``text`` is its input."""
        done = subprocess.run(
            ["podman", *arguments],
            cwd=self._folder,  # where a file appears if the kernel kills a container
            env=self._environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()

    def start(self, template: Manifest, address: str) -> Pod:
        """Start a pod. It need not be ready yet."""
        self._started += 1
        pod = Pod(self, f"{self.name}-{self._started}", address, template)
        spec = copy.deepcopy(template["spec"])
        for container in spec["containers"]:
            for name in ("ports", "startupProbe", "readinessProbe", "livenessProbe"):
                del container[name]
        for volume in spec.get("volumes", []):
            if image := volume.pop("image", None):
                path = self.podman("image", "mount", image["reference"])
                self._mounted.append(image["reference"])
                volume["hostPath"] = {"path": path, "type": "Directory"}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.name}, "spec": spec}
        # A pod that had this address before had another MAC address, which this machine may remember for 40 seconds.
        # In a cluster, network plugins announce the new one.
        subprocess.run(["ip", "neighbour", "flush", "to", address], check=True)
        network = ["--network", self.name, "--ip", address]
        self.podman("play", "kube", *network, "-", text=yaml.safe_dump(manifest))
        return pod

    def close(self) -> None:
        for number in range(1, self._started + 1):
            self.podman("pod", "rm", "--force", "--time", "0", f"{self.name}-{number}", check=False)
        for image in self._mounted:
            self.podman("image", "unmount", image)
        self.podman("network", "rm", self.name)


@contextmanager
def running_node() -> Iterator[Node]:
    """Yield a node. At the end its pods are removed."""
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Path(folder))
        try:
            yield node
        finally:
            node.close()
