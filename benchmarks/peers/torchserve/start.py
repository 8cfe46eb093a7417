"""Write TorchServe's settings file, then become the server.

python -m benchmarks.peers.torchserve.start PORT
"""

import json
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path


def free_ports(count: int) -> list[int]:
    """Find free ports. All stay bound until the last is found, so that they differ."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def make_settings(port: int, batch: int) -> str:
    management, metrics, grpc, grpc_management = free_ports(4)
    model = {
        "defaultVersion": True,
        "marName": "textbook.mar",
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": batch,
        "maxBatchDelay": 2,  # ms
    }
    return f"""\
inference_address=http://127.0.0.1:{port}
management_address=http://127.0.0.1:{management}
metrics_address=http://127.0.0.1:{metrics}
grpc_inference_port={grpc}
grpc_management_port={grpc_management}
model_store=.
load_models=textbook.mar
models={json.dumps({"textbook": {"1.0": model}})}
"""


if __name__ == "__main__":
    Path("config.properties").write_text(make_settings(int(sys.argv[1]), int(os.environ["BATCH"])))
    flags = ["--start", "--foreground", "--ts-config", "config.properties", "--disable-token-auth"]
    os.execvp("torchserve", ["torchserve", *flags])
