"""The servers that are compared, and how each is started.

Each folder has the requirements of a server and the code that serves the textbook CNN with it, in the way that its
documentation recommends. If the documentation offers batching, the server runs twice, one by one and in batches of up
to 16, and the report uses the faster way. Each server's environment imports this module, so it may import only the
standard library.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
TEXTBOOK = sorted((ROOT / "models").glob("textbook-*"))[-1]


@dataclass(frozen=True)
class Contender:
    """A server to measure. ``{port}`` is filled in everywhere, ``{batch}`` only in the environment."""

    name: str  # for --only, the logs and the raw numbers
    title: str  # in the report; of several with one title, the report shows the fastest
    folder: str  # beside this file
    command: tuple[str, ...]  # the first word is a program in its environment
    package: str  # the report shows its version
    prepare: tuple[str, ...] = ()  # a command to run first; not measured
    path: str = "/predict"
    form: Literal["multipart", "raw", "tensor"] = "multipart"
    part: str = "file"  # name of the file's part in the form
    environment: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1  # maximum number of pictures in a batch
    torch: bool = True  # needs the shared torch
    answers: Literal["textbook", "released", "constant"] = "textbook"  # the model whose digits it must answer with


def with_and_without_batches(contender: Contender) -> list[Contender]:
    """Return the contender twice: one by one, and in batches of up to 16."""
    return [replace(contender, name=f"{contender.name}-{batch}", batch=batch) for batch in (1, 16)]


def python_module(name: str, *arguments: str) -> tuple[str, ...]:
    return ("python", "-m", f"benchmarks.peers.{name}", *arguments)


def uvicorn_command(app: str, *flags: str) -> tuple[str, ...]:
    return ("uvicorn", f"benchmarks.peers.{app}", "--host", "127.0.0.1", "--port", "{port}", *flags)


OURS = Contender(
    name="digitserve",
    title="digitserve",
    folder="digitserve",
    command=("python", "-m", "app", "serve", "--port", "{port}"),
    package="digitserve",
    torch=False,
    answers="released",
)

CONTENDERS = [
    Contender(
        name="floor",
        title="httptools alone, a constant answer",
        folder="floor",
        command=python_module("floor.server", "{port}"),
        package="httptools",
        torch=False,
        answers="constant",
    ),
    # It has no access log, so the ceiling is even higher: digitserve has one.
    Contender(
        name="constant",
        title="uvicorn alone, a constant answer",
        folder="constant",
        command=uvicorn_command("constant.app:app", "--no-access-log"),
        package="uvicorn",
        torch=False,
        answers="constant",
    ),
    OURS,
    replace(OURS, name="digitserve-raw", title="digitserve, image as the body", form="raw"),
    replace(
        OURS,
        name="digitserve-textbook",
        title="digitserve, textbook CNN",
        environment={"DIGITS_MODEL": str(TEXTBOOK)},
        answers="textbook",
    ),
    Contender(
        name="tutorial",
        title="FastAPI and torch, as in tutorials",
        folder="tutorial",
        command=uvicorn_command("tutorial.app:app"),
        package="fastapi",
    ),
    *with_and_without_batches(
        Contender(
            name="mlserver",
            title="MLServer",
            folder="mlserver",
            command=("mlserver", "start", str(ROOT / "benchmarks/peers/mlserver")),
            package="mlserver",
            path="/v2/models/textbook/infer",
            form="tensor",  # the form of its protocol; it does not accept multipart
            environment={
                "MLSERVER_HOST": "127.0.0.1",
                "MLSERVER_HTTP_PORT": "{port}",
                "MLSERVER_GRPC_PORT": "0",
                "MLSERVER_METRICS_PORT": "0",
                "MLSERVER_PARALLEL_WORKERS": "0",  # run in its one process: faster than a worker on one core
                "MLSERVER_MODEL_MAX_BATCH_SIZE": "{batch}",
                "MLSERVER_MODEL_MAX_BATCH_TIME": "0.002",
            },
        )
    ),
    *with_and_without_batches(
        Contender(
            name="torchserve",
            title="TorchServe",
            folder="torchserve",
            prepare=python_module("torchserve.archive"),
            command=python_module("torchserve.start", "{port}"),
            package="torchserve",
            path="/predictions/textbook",
            part="data",
        )
    ),
    *with_and_without_batches(
        Contender(
            name="litserve",
            title="LitServe",
            folder="litserve",
            command=python_module("litserve.server", "{port}"),
            package="litserve",
        )
    ),
    *with_and_without_batches(
        Contender(
            name="bentoml",
            title="BentoML",
            folder="bentoml",
            command=("bentoml", "serve", "benchmarks.peers.bentoml.service:Textbook", "--port", "{port}"),
            package="bentoml",
            environment={"BENTOML_HOST": "127.0.0.1", "BENTOML_DO_NOT_TRACK": "True"},
        )
    ),
    *with_and_without_batches(
        Contender(
            name="rayserve",
            title="Ray Serve",
            folder="rayserve",
            command=python_module("rayserve.server", "{port}"),
            package="ray",
            environment={
                "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
                "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",  # the line above turns it on, and it needs HAProxy
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # keeps it to the loopback interface, on Linux too
                "RAY_USAGE_STATS_ENABLED": "0",
            },
        )
    ),
]
