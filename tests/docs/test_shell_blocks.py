"""The ``sh`` blocks of README.md and docs/ do what the pages say. They have no answer, or one that varies.

Blocks with an answer are ``console`` blocks, which test_commands.py runs.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from app.settings import released_model
from tests.docs.test_commands import PAGES
from tests.support.ports import free_port
from tests.support.running import ROOT, Server, clean_environment, running

BLOCKS = [block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)]

BENCH = ".venv/bin/digitserve bench"
COMPLETION = 'eval "$(digitserve completion'
EXPLAIN = "curl -F file=@docs/images/seven.png localhost:8000/explain"
START, NEW_MODEL = "DIGITS_MODEL=current", "ln -s models/mine-1.0.0"
KEY = "key=$(openssl"
RUN_HERE = (BENCH, COMPLETION, EXPLAIN, START, NEW_MODEL, KEY)

# How the other blocks start, and what tests them, or why nothing does.
ELSEWHERE = {
    "git clone": "tests/first_hour",
    "make test": "is the whole test suite",
    "curl -F file=@docs/images/seven.png localhost:8000/predict": "test_readme.py",
    "curl -F file=@docs/images/number.jpg": "test_readme.py",
    "curl -H 'Content-Type: image/png'": "test_readme.py",
    "DIGITS_CORS_ORIGINS=": "test_examples.py, with a free port",
    ".venv/bin/python -m training train": "trains for minutes; test_training_commands.py runs the quick recipe",
    "python -m training train": "trains for minutes; tests/training/commands/test_documented.py runs the other lines",
    "python -m training cascade": "trains for hours",
    "python -m training finetune": "tests/first_hour, with a smaller network",
    "python -m training robustness": "test_training_commands.py",
    "docker build -t digitserve": "tests/deploy/test_container.py, with buildah",
    "docker compose": "needs Docker; tests/deploy/test_monitoring.py runs Prometheus with the service",
    ".venv/bin/pip install -e '.[torch]'": "needs a CUDA device; tests/app/inference has the tests",
    "pip install -e '.[otel]'": "installs, and serves until it is stopped",
    "version=0.1.0": "changes /opt and /etc",
    "echo DIGITS_ALLOWED_HOSTS": "needs systemd and root",
    "ln -sfn $version": "needs systemd and root; tests/deploy/test_proxy_files.py upgrades like this",
    "docker build -t registry.example.org": "needs a registry; tests/deploy/kubernetes checks the overlays",
    "cat >> mine/kustomization.yaml": "needs a cluster; tests/deploy/kubernetes checks the overlays",
    "mkdir mine-kserve": "needs a cluster; tests/deploy/kubernetes checks the overlays",
    "kubectl label": "needs a cluster",
    "helm repo add": "needs a cluster",
    "kubectl apply -k mine": "needs a cluster",
    ".venv/bin/pip install -e '.[ray]'": "installs; tests/app/cli/test_bulk.py runs the command",
    ".venv/bin/digitserve bulk": "tests/app/cli/test_bulk.py",
    "cd deploy/ray": "tests/deploy/test_ray_serve.py, on a free port",
    ".venv/bin/digitserve serve --workers": "serves until it is stopped; other tests run both commands",
    ".venv/bin/python -m benchmarks.capacity": "tests/benchmarks/test_sizing.py",
}


def find(start: str) -> str:
    """Return the only block that starts with a text."""
    found: list[str] = [block for block in BLOCKS if block.startswith(start)]
    assert len(found) == 1
    return found[0]


def run(script: str, folder: Path, shell: str = "bash", **environment: str) -> str:
    """Run a script in a folder, and return what it prints. It must succeed and print no error."""
    done = subprocess.run(
        [shell, "-c", script],
        cwd=folder,
        env=clean_environment(PATH=f"{folder}/.venv/bin:{os.environ['PATH']}", HOME=str(folder), **environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_every_block_is_tested_or_has_a_reason_not_to_be() -> None:
    """A new block has to be run here or entered above, and what has gone from the pages has to go from here."""
    starts = (*RUN_HERE, *ELSEWHERE)
    assert [block for block in BLOCKS if not block.startswith(starts)] == []
    assert [start for start in starts if not any(block.startswith(start) for block in BLOCKS)] == []


@pytest.mark.slow
def test_bench_measures_a_service(checkout: Path, server: Server) -> None:
    """Both commands of docs/api.md, with another port, have answers and no errors."""
    tables = run(f"set -e\n{find(BENCH)}".replace("bench", f"bench --url {server.url}"), checkout)
    assert len(re.findall(r"^answered per second +[\d,.]+$", tables, re.M)) == 2
    assert "errors" not in tables


@pytest.mark.parametrize(
    ("shell", "before", "after", "printed"),
    [
        ("bash", "", "complete -p digitserve | grep -o '_shtab.*'", "_shtab_digitserve digitserve\n"),
        ("zsh", "autoload -U compinit; compinit -u", "print $_comps[digitserve]", "_shtab_digitserve\n"),
        ("fish", "", "complete -C 'digitserve se' | cut -f 1", "serve\n"),
    ],
)
def test_each_shell_takes_its_completion(checkout: Path, shell: str, before: str, after: str, printed: str) -> None:
    """After its line of docs/command-line.md, a shell knows how to complete our command."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed (Debian: apt install {shell})")
    (line,) = re.findall(rf".*digitserve completion {shell}.*", find(COMPLETION))
    assert run(f"{before}\n{line}\n{after}", checkout, shell) == printed


def test_explain_answers_with_numbers_or_a_picture(checkout: Path, server: Server) -> None:
    """The commands of docs/explain.md print the evidence for a 7, write a picture of it, and print that for a 2."""
    script = find(EXPLAIN).replace("localhost:8000", f"127.0.0.1:{server.port}").replace("curl ", "curl -sSf ")
    seven, two = json.loads("[" + run(script, checkout).replace("}{", "},{") + "]")
    assert (seven["digit"], seven["read"], two["digit"], two["read"]) == (7, 7, 2, 7)
    assert [len(row) for row in seven["evidence"]] == [28] * 28
    with Image.open(checkout / "why.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (280, 280))


@pytest.fixture
def old_model(checkout: Path) -> Iterator[str]:
    """A service that docs/operating.md starts, with the released model; `models/mine-1.0.0` is another one."""
    (checkout / "models").mkdir()
    (checkout / "models" / "mine-1.0.0").symlink_to(ROOT / "models" / "textbook-1.0.0")
    (checkout / "current").symlink_to(released_model())
    port = free_port()
    run(f"{{ {find(START).strip()}\n}} >log 2>&1", checkout, DIGITS_PORT=str(port), DIGITS_DRAIN_MS="0")
    yield f"http://127.0.0.1:{port}"
    os.kill(int((checkout / "digitserve.pid").read_text()), signal.SIGTERM)


def wait_for_model(url: str, name: str) -> None:
    """Wait until a service has loaded a model."""
    deadline = time.monotonic() + 30
    info: dict[str, Any] = {}
    while info.get("model", {}).get("name") != name:
        assert time.monotonic() < deadline, info
        try:
            info = httpx.get(f"{url}/info").json()
        except httpx.ConnectError:  # it is starting
            time.sleep(0.02)


def test_a_link_and_a_signal_load_a_new_model(checkout: Path, old_model: str) -> None:
    """The service of docs/operating.md serves what the link names, and after the next two lines the new model."""
    wait_for_model(old_model, "digitnet")
    run(find(NEW_MODEL), checkout)
    wait_for_model(old_model, "textbook")


def test_a_key_is_valid_by_its_hash(checkout: Path) -> None:
    """docs/operating.md prints the SHA-256 of a new key. A service with this hash takes the key and no other."""
    printed, key = run(f'{find(KEY)}\necho "$key"', checkout).splitlines()
    digest = printed.split()[0]
    assert digest == hashlib.sha256(key.encode()).hexdigest()
    with running(DIGITS_API_KEYS=digest) as locked:
        for each, status in ((key, 200), ("another", 401)):
            assert httpx.get(f"{locked.url}/info", headers={"X-API-Key": each}).status_code == status
