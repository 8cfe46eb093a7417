"""The supply chain: what is asked for is what is locked, what is vulnerable is found, the model is a part as others."""

import hashlib
import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.inference.model_folder import ModelFolder
from benchmarks.startup import free_port
from supply import lock, sbom
from tests.support.running import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
WANTED = {
    "": PROJECT["dependencies"],
    "torch": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["torch"],
    "otel": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["otel"],
    "build": PYPROJECT["dependency-groups"]["build"],
}
PLACES = [
    {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": machine,
    }
    for python in ("3.11", "3.12", "3.13")
    for machine in ("x86_64", "aarch64")
]


def installed(name: str, place: dict[str, str]) -> dict[str, lock.Pin]:
    """What a lock installs there, by package; none has two versions."""
    pins = [pin for pin in lock.read(lock.LOCKS[name]) if not (it := pin.requirement.marker) or it.evaluate(place)]
    found: dict[str, lock.Pin] = {canonicalize_name(pin.requirement.name): pin for pin in pins}
    assert len(found) == len(pins)
    return found


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place['python_version']}-{place['platform_machine']}")
@pytest.mark.parametrize("name", lock.LOCKS)
def test_a_lock_has_all_that_is_asked_for(name: str, place: dict[str, str]) -> None:
    """On each Linux and Python that we support, each dependency is locked, once, at a version that is allowed."""
    pins = installed(name, place)
    for text in WANTED[name]:
        wanted = Requirement(text)
        assert wanted.name in pins, f"{wanted.name} is not locked: make lock"
        assert wanted.specifier.contains(pins[wanted.name].version), f"{text}, and locked otherwise: make lock"


@pytest.mark.parametrize("name", lock.LOCKS)
def test_a_lock_has_nothing_that_nobody_asks_for(name: str) -> None:
    """A dependency that was given up is out of the lock too, and every release has its hashes."""
    pins = lock.read(lock.LOCKS[name])
    assert {pin.requirement.name for pin in pins if pin.named} == {Requirement(text).name for text in WANTED[name]}
    assert all(pin.hashes for pin in pins)


@pytest.mark.parametrize("variant", ["torch", "otel"])
def test_a_variant_differs_by_what_it_adds(variant: str) -> None:
    """What both locks name is the same release."""
    for place in PLACES:
        more = installed(variant, place)
        for name, pin in installed("", place).items():
            assert more[name].version == pin.version


def test_the_build_system_is_locked_too() -> None:
    """The wheel in the image is made by a release that the build system of pyproject.toml allows."""
    pins = installed("build", PLACES[-1])
    for text in PYPROJECT["build-system"]["requires"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[wanted.name].version)


@contextmanager
def osv(answer: Callable[[str], dict[str, Any] | None]) -> Iterator[str]:
    """A service of vulnerabilities that speaks OSV's protocol; 404 where the answer is None. Gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told = answer(f"{query['package']['name']}=={query['version']}")
            self.send_response(404 if told is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def audit(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supply.audit", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def locked() -> set[str]:
    return {f"{pin.requirement.name}=={pin.version}" for path in lock.LOCKS.values() for pin in lock.read(path)}


def test_a_vulnerable_release_fails_the_audit() -> None:
    """Every locked release is asked about once; the one that is vulnerable is named, with what mends it."""
    (numpy,) = (f"numpy=={pin.version}" for name, pin in installed("", PLACES[-1]).items() if name == "numpy")
    asked = []

    def answer(release: str) -> dict[str, Any]:
        asked.append(release)
        if release != numpy:
            return {}
        events = [{"introduced": "0"}, {"fixed": "99.0"}]
        affected = {
            "package": {"name": "numpy", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        return {"vulns": [{"id": "PYSEC-2026-1", "published": "2026-11-24T00:00:00Z", "affected": [affected]}]}

    with osv(answer) as url:
        done = audit("-s", "osv", "--osv-url", url)
    assert sorted(asked) == sorted(locked())
    assert done.returncode == 1, done.stderr
    assert f"{numpy.replace('==', ' ')}: PYSEC-2026-1, mended in 99.0" in done.stdout
    assert f"known vulnerabilities in {len(asked)} of {len(asked)} locked releases: 1\n" in done.stdout


def test_an_audit_that_finds_nothing_passes() -> None:
    """Everything was asked about and nothing is known: 0, in one line that says so."""
    with osv(lambda _: {}) as url:
        done = audit("-s", "osv", "--osv-url", url)
    number = len(locked())
    assert (done.returncode, done.stdout) == (
        0,
        f"audit: known vulnerabilities in {number} of {number} locked releases: 0\n",
    )


def test_an_audit_that_reaches_nobody_says_so_and_passes() -> None:
    """Neither a closed port nor a service that answers with errors is a fault of the locks."""
    told = (
        f"audit: known vulnerabilities in 0 of {len(locked())} locked releases: 0; of the others nothing can be learnt"
    )
    done = audit("-s", "osv", "--osv-url", f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout.startswith(told), done.stdout.count("\n")) == (0, True, 1), done
    with osv(lambda _: None) as url:
        done = audit("-s", "osv", "--osv-url", url)
    assert (done.returncode, done.stdout.startswith(told), done.stdout.count("\n")) == (0, True, 1), done


def test_an_audit_that_fails_otherwise_fails() -> None:
    """An option that there is not is no network fault."""
    assert audit("--no-such-option").returncode == 1


def test_the_model_becomes_a_part_of_the_image(released: ModelFolder) -> None:
    """Valid CycloneDX, in which the service depends on the model, whose hashes are those of its files."""
    service = {"type": "application", "bom-ref": "root", "name": "digitserve"}
    parts: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {"component": service},
        "components": [],
        "dependencies": [{"ref": "root"}],
    }
    sbom.add_model(parts, released)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(parts)) is None
    (model,) = parts["components"]
    assert parts["dependencies"] == [{"ref": "root", "dependsOn": [model["bom-ref"]]}, {"ref": model["bom-ref"]}]
    assert (model["type"], f"{model['name']}-{model['version']}") == ("machine-learning-model", released.folder.name)
    assert {part["name"]: part["hashes"][0]["content"] for part in model["components"]} == {
        name: hashlib.sha256((released.folder / name).read_bytes()).hexdigest()
        for name in ("manifest.json", *released.manifest.files)
    }
