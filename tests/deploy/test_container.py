"""The container image: built, and run as an unprivileged user on a read-only file system."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from app.inference.model_folder import ModelFolder
from supply import lock
from tests.support.container_image import build_image, find_missing, run_buildah
from tests.support.pictures import Grey, png
from tests.support.ports import free_port

pytestmark = [pytest.mark.container, pytest.mark.slow]

MAX_IMAGE_BYTES = 515_000_000


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    if reason := find_missing():
        pytest.skip(reason)
    name = run_buildah("from", "--pull-never", build_image())
    yield name
    run_buildah("rm", name)


@contextmanager
def run_read_only(container: str) -> Iterator[int]:
    """Run the image's command as the image's user, with the file system mounted read-only. Yield the port."""
    config = json.loads(run_buildah("inspect", container))["OCIv1"]["config"]
    port = free_port()
    root = run_buildah("mount", container)
    # A separate mount namespace, so that the machine does not see these mounts and none is left behind.
    script = (
        'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && mount -t proc proc "$1/proc" && shift && '
        'exec chroot --userspec="$USERSPEC" "$@"'
    )
    command = [*config["Entrypoint"], *config["Cmd"]]
    environment = dict(pair.split("=", 1) for pair in config["Env"])
    process = subprocess.Popen(
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh", root, root, *command],
        env={**environment, "DIGITS_PORT": str(port), "USERSPEC": config["User"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=15)
        run_buildah("umount", container)


def test_the_image_is_configured_and_small(container: str) -> None:
    """It has a numeric user, a port, a health check and a stop signal, no torch and no caches, and is small enough."""
    inspected = json.loads(run_buildah("inspect", container))
    config, docker = inspected["OCIv1"]["config"], inspected["Docker"]["config"]
    assert config["User"] == "10001:10001"
    assert list(config["ExposedPorts"]) == ["8000/tcp"]
    assert config["StopSignal"] == "SIGTERM"
    assert "health_check" in docker["Healthcheck"]["Test"][-1]
    (image,) = json.loads(run_buildah("images", "--json", inspected["FromImage"]))
    number, unit = image["size"].split()
    assert float(number) * {"MB": 10**6, "GB": 10**9}[unit] <= MAX_IMAGE_BYTES
    code = "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ['torch', 'pip', 'pytest', 'matplotlib'])))"
    run_buildah("run", container, "--", "/opt/venv/bin/python", "-c", code)
    assert run_buildah("run", container, "--", "id", "-u") == "10001"
    caches = "ls -A /root/.cache /var/cache/apt/archives /var/lib/apt/lists 2>/dev/null"
    assert (
        re.sub(
            r"^/.*:$|\s",
            "",
            run_buildah("run", "--user", "root", container, "--", "sh", "-c", f"{caches} || true"),
            flags=re.M,
        )
        == ""
    )


def test_it_serves_unprivileged_on_a_read_only_file_system(container: str, seven: Grey) -> None:
    """The image's command becomes ready as uid 10001 and reads a digit, and its health check succeeds."""
    with run_read_only(container) as port:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{port}/readyz").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        answer = httpx.post(f"http://127.0.0.1:{port}/predict", files={"file": png(seven)})
        assert answer.json()["digit"] == 7
        check = json.loads(run_buildah("inspect", container))["Docker"]["config"]["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        run_buildah("run", "--env", f"DIGITS_PORT={port}", container, "--", *check[1:])


def test_its_sbom_lists_what_is_installed(container: str, released: ModelFolder) -> None:
    """sbom.cdx.json is valid CycloneDX: the installed packages, which are those of the lock, and the model's files."""
    text = run_buildah("run", container, "--", "cat", "/opt/venv/sbom.cdx.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    sbom = json.loads(text)
    assert sbom["metadata"]["component"]["name"] == "digitserve"
    parts = {part["name"]: part for part in sbom["components"]}

    model = parts.pop("digitnet")
    assert (model["version"], model["hashes"][0]["content"]) == (released.manifest.version, released.sha256)
    folder = run_buildah(
        "run", container, "--", "python", "-c", "from app.settings import released_model as m; print(m())"
    )
    sums = {f"{folder}/{file['name']}": file["hashes"][0]["content"] for file in model["components"]}
    printed = run_buildah("run", container, "--", "sha256sum", *sums)
    assert dict(line.split()[::-1] for line in printed.splitlines()) == sums

    code = (
        "import json, sys, importlib.metadata as m; "
        "print(json.dumps([sys.version.split()[0], {d.name: d.version for d in m.distributions()}]))"
    )
    python, versions = json.loads(run_buildah("run", container, "--", "/opt/venv/bin/python", "-c", code))
    del versions["digitserve"]
    assert versions["onnxruntime"] == parts["onnxruntime"]["version"]
    assert {name: part["version"] for name, part in parts.items()} == versions
    here = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    pins = lock.read_lock(lock.LOCKS[""])
    locked = [pin for pin in pins if not (marker := pin.requirement.marker) or marker.evaluate(here)]
    assert {canonicalize_name(name): version for name, version in versions.items()} == {
        canonicalize_name(pin.requirement.name): pin.version for pin in locked
    }
