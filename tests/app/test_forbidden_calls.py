"""The doors that are not there: code out of data, other programs, connections of its own, files of an upload."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.pictures import Grey, png
from tests.support.running import ROOT, running

MODULES = re.compile(
    r"""
    (   pickle | _pickle | dill | cloudpickle | joblib | marshal | shelve | yaml  # objects, and so code, out of data
      | runpy | code | codeop | ctypes | cffi  # code by other ways
      | subprocess | pty | multiprocessing | concurrent\.futures\.process  # other programs
      | urllib\.request | urllib3 | http\.client | requests | httpx | httpcore | aiohttp | ftplib | smtplib | socket
    )(\..*)?
    """,
    re.VERBOSE,
)
USES = re.compile(
    r"""
      (builtins\.)?(eval|exec|compile|__import__) | importlib\.import_module
    | (.*\.)?torch\.(load|hub|package|jit)(\..*)? | (np|numpy)\.load | \.(allow_pickle|trust_remote_code)
    | os\.(system|popen|startfile|fork|forkpty|exec\w+|spawn\w+|posix_spawn\w*)
    | .*\.(open_connection|create_connection|create_datagram_endpoint|create_subprocess_\w+)
    """,
    re.VERBOSE,
)
# What goes through one all the same, and why.
ALLOWED = {
    ("bench.py", "socket"): "the bench command looks up the address that its user names, and tries it",
    ("client.py", "httpx"): "the command that sends files connects to the service that its user names",
    ("engine.py", "ctypes"): "a look whether NVIDIA's driver is there, by a name that is written in the code",
    ("engine.py", "safetensors.torch.load"): "a format of tensors alone: nothing in it can be run",
    ("load.py", "loop.create_connection"): "the bench command connects to the service that its user names",
    ("server.py", "socket"): "the listening socket, which takes connections and makes none",
    ("server.py", "ctypes"): "the address of a filter of four instructions, written in the code, for the kernel",
    ("workers.py", "multiprocessing.connection.wait"): "waits for the end of a worker, which is this program itself",
    ("workers.py", "socket.socket"): "the type of the listening socket",
}


def doors(source: str) -> set[str]:
    """What leads out, by the full name that it was imported under; a keyword argument is ``.name``."""
    tree = ast.parse(source)
    imported: dict[str, str] = {}  # as it is called here -> its full name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.asname or name.name: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    found = {name for name in imported.values() if MODULES.fullmatch(name) or USES.fullmatch(name)}
    for node in ast.walk(tree):
        used = ""
        if isinstance(node, ast.Name | ast.Attribute):
            first, dot, rest = ast.unparse(node).partition(".")
            used = imported.get(first, first) + dot + rest
        elif isinstance(node, ast.keyword):
            used = f".{node.arg}"
        if USES.fullmatch(used):
            found.add(used)
    return found


def is_allowed(file: str, door: str) -> bool:
    return any(file == where and (door == what or door.startswith(f"{what}.")) for where, what in ALLOWED)


def test_the_service_has_no_door() -> None:
    """No file of app/ loads code out of data, runs a program or connects, but for what is listed with its reason."""
    found = {
        (path.relative_to(ROOT / "app").as_posix(), door)
        for path in (ROOT / "app").rglob("*.py")
        for door in doors(path.read_text())
    }
    assert {(file, door) for file, door in found if not is_allowed(file, door)} == set()
    # An exception that nothing needs any more is no longer one.
    for file, what in ALLOWED:
        assert (file, what) in found or not (ROOT / "app" / file).exists(), f"{file} does not use {what}"


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
def test_a_door_is_seen(source: str) -> None:
    """Under whatever name, and wherever in a file."""
    assert doors(source)


def test_what_is_no_door_is_passed_over() -> None:
    """Names that only look like one."""
    assert not doors("import re\nfrom urllib.parse import urlsplit\nre.compile('x')\nmodule.eval()\nrequests = 1\n")


# Runs before anything else in a process, and writes down what opens a connection, a file to write to, or a program.
WATCHMAN = """
import os, sys
record = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_APPEND)
OUTWARD = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen",
           "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "urllib.Request"}
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in OUTWARD:
        os.write(record, f"{event} {arguments[:2]!r}\\n".encode())
sys.addaudithook(watch)
"""


@pytest.fixture
def watched(tmp_path: Path) -> dict[str, str]:
    """An environment in which the watchman runs; what he sees goes into the file WATCHED."""
    (tmp_path / "sitecustomize.py").write_text(WATCHMAN)
    (tmp_path / "record").touch()
    return {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "WATCHED": str(tmp_path / "record"),
        "COVERAGE_PROCESS_CONFIG": "",  # measuring writes a file of its own
    }


def test_serving_opens_nothing(seven: Grey, watched: dict[str, str]) -> None:
    """From start to stop, uploads small and large in every form: no file is written, nobody is called, nothing is run.

    Python's own audit events tell: of all that is done in Python, the libraries' too, though not of what is done in C.
    """
    large = png(seven) + bytes(4_000_000)  # far past what is usually kept of a form in memory
    with running(**watched) as server, httpx.Client(base_url=server.url) as client:
        for picture in (png(seven), large):
            for path in ("/predict", "/predict?normalize=always", "/read"):
                assert client.post(path, files={"file": picture}).status_code == 200
                assert client.post(path, content=picture, headers={"Content-Type": "image/png"}).status_code == 200
        files = [("file", picture) for picture in (png(seven), large)]
        assert client.post("/predict/batch", files=files).status_code == 200
        tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": seven.tolist()}
        assert client.post("/v2/models/digitnet/infer", json={"inputs": [tensor]}).status_code == 200
        for address in ("http://127.0.0.1:9/seven.png", "file:///etc/passwd"):  # of an image, and no image
            assert client.post("/predict", json={"image": address}).status_code == 400
            assert client.post("/predict", files={"file": (None, address)}).status_code == 400
        for path in ("/docs", "/info", "/metrics", "/v2"):
            assert client.get(path).status_code == 200
    assert Path(watched["WATCHED"]).read_text() == ""


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
def test_the_watchman_sees(code: str, event: str, watched: dict[str, str], tmp_path: Path) -> None:
    """What the test above rests on."""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=watched, check=True)
    assert event in Path(watched["WATCHED"]).read_text()
