"""The image of the Dockerfile, built with buildah. It is kept until one of its files changes."""

import hashlib
import os
import shutil
import subprocess

from tests.support.running import ROOT

BASE = "docker.io/library/python:3.13-slim-trixie"
REPOSITORY = "localhost/digitserve-test"
ENVIRONMENT = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}


def run_buildah(*arguments: str) -> str:
    """Run buildah and return its output."""
    done = subprocess.run(
        ["buildah", *arguments], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def find_missing(*programs: str) -> str | None:
    """Return what this machine lacks to build an image and to run these programs, or None."""
    for program in ("buildah", *programs):
        if shutil.which(program) is None and shutil.which(program, path="/usr/sbin") is None:
            return f"{program} is not installed (Debian: apt install {'iproute2' if program == 'ip' else program})"
    if os.geteuid() != 0:
        return "building without a daemon needs root"
    done = subprocess.run(["buildah", "images", "-q", BASE], env=ENVIRONMENT, capture_output=True, check=False)
    return f"the base image {BASE} is missing, and tests do not download it" if done.returncode else None


def hash_context() -> str:
    """Return a hash of the Dockerfile and of what ``.dockerignore`` lets into the image."""
    names = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    found = (path for name in names for path in (ROOT / name, *(ROOT / name).rglob("*")))
    digest = hashlib.sha256((ROOT / "Dockerfile").read_bytes())
    for path in sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def build_image() -> str:
    """Return the name of the image, which is built unless it exists. Earlier images are removed."""
    images = run_buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()
    image = f"{REPOSITORY}:{hash_context()}"
    if image not in images:
        for old in (name for name in images if name.startswith(f"{REPOSITORY}:")):
            subprocess.run(["buildah", "rmi", old], env=ENVIRONMENT, capture_output=True, check=False)  # unless in use
        run_buildah("bud", "--pull-never", "--format", "docker", "-t", image, ".")
    return image
