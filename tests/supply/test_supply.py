"""The supply chain: the locks match pyproject.toml, the audit finds vulnerabilities, and the SBOM has the model."""

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

import app
from app.inference.model_folder import ModelFolder
from supply import lock, sbom
from tests.support.ports import free_port
from tests.support.running import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
VARIANTS = ("client", "torch", "otel", "heic", "ray")
WANTED = {
    "": PROJECT["dependencies"],
    **{name: PROJECT["dependencies"] + PROJECT["optional-dependencies"][name] for name in VARIANTS},
    "build": PYPROJECT["dependency-groups"]["build"],
}
TARGETS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": machine,
    }
    for python in ("3.11", "3.12", "3.13", "3.14")
    for machine in ("x86_64", "aarch64")
]


def select_pins(name: str, target: dict[str, str]) -> dict[str, lock.Pin]:
    """Return what a lock installs on a target, by package. No package has two versions."""
    all_pins = lock.read_lock(lock.LOCKS[name])
    pins = [pin for pin in all_pins if not (marker := pin.requirement.marker) or marker.evaluate(target)]
    by_name: dict[str, lock.Pin] = {canonicalize_name(pin.requirement.name): pin for pin in pins}
    assert len(by_name) == len(pins)
    return by_name


@pytest.mark.parametrize("target", TARGETS, ids=lambda it: f"{it['python_version']}-{it['platform_machine']}")
@pytest.mark.parametrize("name", lock.LOCKS)
def test_a_lock_has_every_dependency(name: str, target: dict[str, str]) -> None:
    """On each supported Linux and Python, each dependency is locked once, at a version that is allowed."""
    pins = select_pins(name, target)
    for text in WANTED[name]:
        wanted = Requirement(text)
        assert wanted.name in pins, f"{wanted.name} is not locked: run make lock"
        assert wanted.specifier.contains(pins[wanted.name].version), f"the lock does not satisfy {text}: run make lock"


@pytest.mark.parametrize("name", lock.LOCKS)
def test_a_lock_has_nothing_else(name: str) -> None:
    """A dependency that was removed is no longer in the lock, and every release has its hashes."""
    pins = lock.read_lock(lock.LOCKS[name])
    assert {pin.requirement.name for pin in pins if pin.direct} == {Requirement(text).name for text in WANTED[name]}
    assert all(pin.hashes for pin in pins)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_only_adds_packages(variant: str) -> None:
    """Packages in both locks have the same version."""
    for target in TARGETS:
        more = select_pins(variant, target)
        for name, pin in select_pins("", target).items():
            assert more[name].version == pin.version


def test_the_build_system_is_locked_too() -> None:
    """The wheel in the image is built with a version that the build system of pyproject.toml allows."""
    pins = select_pins("build", TARGETS[-1])
    for text in PYPROJECT["build-system"]["requires"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[wanted.name].version)


@contextmanager
def run_osv_service(answer: Callable[[str], dict[str, Any] | None]) -> Iterator[str]:
    """Run a vulnerability service that speaks OSV's protocol, and yield its URL. An answer of None becomes 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = answer(f"{query['package']['name']}=={query['version']}")
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run_audit(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supply.audit", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def locked_releases() -> set[str]:
    return {f"{pin.requirement.name}=={pin.version}" for path in lock.LOCKS.values() for pin in lock.read_lock(path)}


def test_a_vulnerable_release_fails_the_audit() -> None:
    """Every locked release is looked up once. The vulnerable one is named, with the version that fixes it."""
    (numpy,) = (f"numpy=={pin.version}" for name, pin in select_pins("", TARGETS[-1]).items() if name == "numpy")
    queries = []

    def answer(release: str) -> dict[str, Any]:
        queries.append(release)
        if release != numpy:
            return {}
        events = [{"introduced": "0"}, {"fixed": "99.0"}]
        affected = {
            "package": {"name": "numpy", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        return {"vulns": [{"id": "PYSEC-2026-1", "published": "2026-11-24T00:00:00Z", "affected": [affected]}]}

    with run_osv_service(answer) as url:
        done = run_audit("-s", "osv", "--osv-url", url)
    assert sorted(queries) == sorted(locked_releases())
    assert done.returncode == 1, done.stderr
    assert f"{numpy.replace('==', ' ')}: PYSEC-2026-1, fixed in 99.0" in done.stdout
    assert f"known vulnerabilities in {len(queries)} of {len(queries)} locked releases: 1\n" in done.stdout


def test_an_audit_that_finds_nothing_passes() -> None:
    """If every release was looked up and none is vulnerable, the audit exits with 0 and says so in one line."""
    with run_osv_service(lambda _: {}) as url:
        done = run_audit("-s", "osv", "--osv-url", url)
    number = len(locked_releases())
    assert (done.returncode, done.stdout) == (
        0,
        f"audit: known vulnerabilities in {number} of {number} locked releases: 0\n",
    )


def test_an_audit_without_a_service_says_so_and_passes() -> None:
    """Neither a closed port nor a service that answers with errors makes the check fail."""
    number = len(locked_releases())
    expected = f"audit: known vulnerabilities in 0 of {number} locked releases: 0; the others could not be checked"
    done = run_audit("-s", "osv", "--osv-url", f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout.startswith(expected), done.stdout.count("\n")) == (0, True, 1), done
    with run_osv_service(lambda _: None) as url:
        done = run_audit("-s", "osv", "--osv-url", url)
    assert (done.returncode, done.stdout.startswith(expected), done.stdout.count("\n")) == (0, True, 1), done


def test_an_audit_that_fails_otherwise_fails() -> None:
    """An unknown option is not a network fault."""
    assert run_audit("--no-such-option").returncode == 1


def test_the_sbom_has_the_version_of_the_service() -> None:
    """pyproject.toml has no version, so package tools leave it out; the SBOM gets it from app/__init__.py."""
    packages: dict[str, Any] = {"metadata": {"component": {"name": "digitserve"}}}
    sbom.add_version(packages)
    assert packages["metadata"]["component"] == {"name": "digitserve", "version": app.__version__}


def test_the_sbom_lists_the_model(released: ModelFolder) -> None:
    """The SBOM is valid CycloneDX. The service depends on the model, and the hashes are those of the model's files."""
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
