"""The service does not load code from data, run programs, open connections, or write uploads to files.

The source must not use the modules and functions for these (except those in ``ALLOWED``), and a running service must
cause no such audit event.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.pictures import Grey, png
from tests.support.running import ROOT, running

MODULES = re.compile(
    r"""
    (   pickle | _pickle | dill | cloudpickle | joblib | marshal | shelve | yaml  # load objects, and so code, from data
      | runpy | code | codeop | ctypes | cffi  # other ways to run code
      | subprocess | pty | multiprocessing | concurrent\.futures\.process  # run programs
      | urllib\.request | urllib3 | http\.client | requests | httpx | httpcore | aiohttp | ftplib | smtplib | socket
    )(\..*)?
    """,
    re.VERBOSE,
)
CALLS = re.compile(
    r"""
      (builtins\.)?(eval|exec|compile|__import__) | importlib\.import_module
    | (.*\.)?torch\.(load|hub|package|jit)(\..*)? | (np|numpy)\.load | \.(allow_pickle|trust_remote_code)
    | os\.(system|popen|startfile|fork|forkpty|exec\w+|spawn\w+|posix_spawn\w*)
    | .*\.(open_connection|create_connection|create_datagram_endpoint|create_subprocess_\w+)
    """,
    re.VERBOSE,
)
# The exceptions: file in app/, what it uses, and why that is safe.
ALLOWED = {
    ("cli/bench.py", "socket"): "looks up and tries the address that its user gives",
    ("cli/client.py", "httpx"): "connects to the service that its user gives",
    ("cli/load_generator.py", "loop.create_connection"): "connects to the service that its user gives",
    ("cli/parser.py", "importlib.import_module"): "imports a command of ours, by a name in the source",
    ("cli/responses.py", "httpx"): "reads the responses of that service",
    ("imaging/tiff.py", "ctypes"): "turns off the messages of libtiff, by a fixed name in a library that is loaded",
    ("inference/torch_engine.py", "ctypes"): "checks whether NVIDIA's driver is installed, by a fixed name",
    ("inference/torch_engine.py", "safetensors.torch.load"): "a format that contains only tensors, and no code",
    ("cli/health_check.py", "http.client"): "asks the service in its own container whether it is ready",
    ("cli/ray_job.py", "socket"): "tries the address of the cluster that its user gives",
    ("cli/ray_job.py", "socket.create_connection"): "tries the address of the cluster that its user gives",
    ("cli/serve.py", "multiprocessing.connection.Connection"): "the type of a worker's pipe to its supervisor",
    ("cli/serve.py", "socket.socket"): "the type of the listening sockets",
    ("server/announcement.py", "socket.socket"): "the type of the listening sockets",
    ("server/listeners.py", "ctypes"): "gives the kernel a fixed filter of four instructions",
    ("server/listeners.py", "socket"): "the listening sockets, which only accept connections",
    ("server/run.py", "socket.socket"): "the type of the listening sockets",
    ("server/uvicorn_server.py", "socket"): "the listening sockets, which only accept connections",
    ("server/workers.py", "multiprocessing"): "starts workers, which are this program, and waits for them",
    ("server/workers.py", "socket"): "the listening sockets, and a pair of sockets within this process",
}


def find_forbidden(source: str) -> set[str]:
    """Return the full names of the forbidden modules and functions in a source. A keyword argument is ``.name``."""
    tree = ast.parse(source)
    imported: dict[str, str] = {}  # maps the name in this file to the full name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.asname or name.name: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    forbidden = {name for name in imported.values() if MODULES.fullmatch(name) or CALLS.fullmatch(name)}
    for node in ast.walk(tree):
        used = ""
        if isinstance(node, ast.Name | ast.Attribute):
            first, dot, rest = ast.unparse(node).partition(".")
            used = imported.get(first, first) + dot + rest
        elif isinstance(node, ast.keyword):
            used = f".{node.arg}"
        if CALLS.fullmatch(used):
            forbidden.add(used)
    return forbidden


def is_allowed(file: str, name: str) -> bool:
    return any(
        file == allowed_file and (name == allowed or name.startswith(f"{allowed}."))
        for allowed_file, allowed in ALLOWED
    )


def test_the_source_uses_nothing_forbidden() -> None:
    """No file in app/ loads code from data, runs a program or opens a connection, except those in ALLOWED."""
    uses = {
        (path.relative_to(ROOT / "app").as_posix(), name)
        for path in (ROOT / "app").rglob("*.py")
        for name in find_forbidden(path.read_text())
    }
    assert {(file, name) for file, name in uses if not is_allowed(file, name)} == set()
    for file, name in ALLOWED:  # no entry is obsolete
        assert (file, name) in uses, f"{file} does not use {name}"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import marshal",
        "import shelve as s",
        "from urllib import request",
        "import urllib.request",
        "import requests.sessions",
        "from httpx import AsyncClient",
        "import subprocess",
        "eval('1')",
        "f = exec",
        "__import__('os').system('id')",
        "import os as o\no.system('id')",
        "from os import popen as p",
        "from importlib import import_module",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x')",
        "from torch import load",
        "class A:\n    def f(self):\n        self.torch.load('x')",
        "import numpy as np\nnp.load('x')",
        "f('x', allow_pickle=True)",
        "f('x', trust_remote_code=True)",
        "import asyncio\nasyncio.open_connection('x', 1)",
        "async def f(loop):\n    await loop.create_connection(g, 'x', 1)",
    ],
)
def test_a_forbidden_use_is_found(source: str) -> None:
    """It is found under any name, and anywhere in a file."""
    assert find_forbidden(source)


def test_harmless_names_are_not_reported() -> None:
    """Names that only look like forbidden ones are ignored."""
    assert not find_forbidden(
        "import re\nfrom urllib.parse import urlsplit\nre.compile('x')\nmodule.eval()\nrequests = 1\n"
    )


# Runs first in a process. It records the audit events of connections, files opened for writing, and programs.
AUDIT_HOOK = """
import os, sys
record = os.open(os.environ["AUDIT_RECORD"], os.O_WRONLY | os.O_APPEND)
FORBIDDEN = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen",
             "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "urllib.Request"}
def record_event(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in FORBIDDEN:
        os.write(record, f"{event} {arguments[:2]!r}\\n".encode())
sys.addaudithook(record_event)
"""


@pytest.fixture
def audited(tmp_path: Path) -> dict[str, Any]:
    """An environment in which processes write their audit events to the file AUDIT_RECORD."""
    (tmp_path / "sitecustomize.py").write_text(AUDIT_HOOK)
    (tmp_path / "record").touch()
    return {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AUDIT_RECORD": str(tmp_path / "record"),
        "COVERAGE_PROCESS_CONFIG": "",  # coverage would write its own file
    }


def test_serving_opens_nothing(seven: Grey, audited: dict[str, Any]) -> None:
    """From start to stop, with uploads of every form and size, no file is written, no connection is opened, and no
    program is run.

    Python's audit events show what Python code does, including that of libraries, but not what C code does.
    """
    large = png(seven) + bytes(4_000_000)  # more than form parsers usually keep in memory
    with running(**audited) as server, httpx.Client(base_url=server.url) as client:
        for picture in (png(seven), large):
            for path in ("/predict", "/predict?normalize=always", "/read"):
                assert client.post(path, files={"file": picture}).status_code == 200
                assert client.post(path, content=picture, headers={"Content-Type": "image/png"}).status_code == 200
        files = [("file", picture) for picture in (png(seven), large)]
        assert client.post("/predict/batch", files=files).status_code == 200
        tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": seven.tolist()}
        assert client.post("/v2/models/digitnet/infer", json={"inputs": [tensor]}).status_code == 200
        for address in ("http://127.0.0.1:9/seven.png", "file:///etc/passwd"):  # an image and a file that is not one
            assert client.post("/predict", json={"image": address}).status_code == 400
            assert client.post("/predict", files={"file": (None, address)}).status_code == 400
        for path in ("/docs", "/info", "/metrics", "/v2"):
            assert client.get(path).status_code == 200
    looked_up = "socket.getaddrinfo ('127.0.0.1', 0)\n"  # the address to listen on, which may be a name
    assert Path(audited["AUDIT_RECORD"]).read_text() == looked_up


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("open('x', 'w')", "open"),
        ("import tempfile; tempfile.TemporaryFile()", "open"),
        ("import socket; socket.socket().connect_ex(('127.0.0.1', 9))", "socket.connect"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import pickle; pickle.loads(pickle.dumps(print))", "pickle.find_class"),
    ],
)
def test_the_audit_hook_records(code: str, event: str, audited: dict[str, Any], tmp_path: Path) -> None:
    """The test above depends on this."""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=audited, check=True)
    assert event in Path(audited["AUDIT_RECORD"]).read_text()
