"""Who is compared, and how each is started.

A folder here has what its server installs (``requirements.txt``) and how it serves the textbook CNN, in the way that
its own documentation recommends. Where that documentation offers batches the server runs twice, one by one and in
batches of up to 16, and the report takes the better. Imported in each peer's environment: the standard library alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
TEXTBOOK = sorted((ROOT / "models").glob("textbook-*"))[-1]


@dataclass(frozen=True)
class Contender:
    """A server as it is measured. ``{port}`` is filled in wherever it stands, ``{batch}`` in the environment."""

    name: str  # for --only, the logs and the raw numbers
    title: str  # in the report; of several with one title the fastest stands there
    folder: str  # beside this file
    command: tuple[str, ...]  # the first word is a program of its own environment
    package: str  # whose version is told
    prepare: tuple[str, ...] = ()  # a command that is run before, and not measured
    path: str = "/predict"
    form: Literal["multipart", "raw", "tensor"] = "multipart"
    part: str = "file"  # the name of the file's part in the form
    environment: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1  # pictures at most
    torch: bool = True  # whether it needs the shared torch
    answers: Literal["textbook", "released", "constant"] = "textbook"  # whose digits it must tell


def both_ways(contender: Contender) -> list[Contender]:
    """One by one, and in batches of up to 16."""
    return [replace(contender, name=f"{contender.name}-{batch}", batch=batch) for batch in (1, 16)]


def module(name: str, *arguments: str) -> tuple[str, ...]:
    return ("python", "-m", f"benchmarks.peers.{name}", *arguments)


def uvicorn(app: str, *flags: str) -> tuple[str, ...]:
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
    # Without an access log, which makes it the higher ceiling: ours has one.
    Contender(
        name="constant",
        title="uvicorn alone, a constant answer",
        folder="constant",
        command=uvicorn("constant.app:app", "--no-access-log"),
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
        command=uvicorn("tutorial.app:app"),
        package="fastapi",
    ),
    *both_ways(
        Contender(
            name="mlserver",
            title="MLServer",
            folder="mlserver",
            command=("mlserver", "start", str(ROOT / "benchmarks/peers/mlserver")),
            package="mlserver",
            path="/v2/models/textbook/infer",
            form="tensor",  # as its protocol has it; it takes no forms
            environment={
                "MLSERVER_HOST": "127.0.0.1",
                "MLSERVER_HTTP_PORT": "{port}",
                "MLSERVER_GRPC_PORT": "0",
                "MLSERVER_METRICS_PORT": "0",
                "MLSERVER_PARALLEL_WORKERS": "0",  # in its one process: on one core, faster than with a worker
                "MLSERVER_MODEL_MAX_BATCH_SIZE": "{batch}",
                "MLSERVER_MODEL_MAX_BATCH_TIME": "0.002",
            },
        )
    ),
    *both_ways(
        Contender(
            name="torchserve",
            title="TorchServe",
            folder="torchserve",
            prepare=module("torchserve.archive"),
            command=module("torchserve.start", "{port}"),
            package="torchserve",
            path="/predictions/textbook",
            part="data",
        )
    ),
    *both_ways(
        Contender(
            name="litserve",
            title="LitServe",
            folder="litserve",
            command=module("litserve.server", "{port}"),
            package="litserve",
        )
    ),
    *both_ways(
        Contender(
            name="bentoml",
            title="BentoML",
            folder="bentoml",
            command=("bentoml", "serve", "benchmarks.peers.bentoml.service:Textbook", "--port", "{port}"),
            package="bentoml",
            environment={"BENTOML_HOST": "127.0.0.1", "BENTOML_DO_NOT_TRACK": "True"},
        )
    ),
    *both_ways(
        Contender(
            name="rayserve",
            title="Ray Serve",
            folder="rayserve",
            command=module("rayserve.server", "{port}"),
            package="ray",
            environment={
                "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
                "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",  # which the line above turns on, and which needs HAProxy
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # which on Linux, too, keeps it to the loopback interface
                "RAY_USAGE_STATS_ENABLED": "0",
            },
        )
    ),
]
