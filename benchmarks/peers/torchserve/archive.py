"""Write textbook.mar, the archive that TorchServe serves: the model as TorchScript, and its handler.

python -m benchmarks.peers.torchserve.archive
"""

import subprocess
from pathlib import Path

import torch

from benchmarks.peers.textbook import Textbook

if __name__ == "__main__":
    torch.jit.trace(Textbook().eval(), torch.zeros(1, 1, 28, 28)).save("textbook.pt")
    handler = Path(__file__).with_name("handler.py")
    command = [
        "torch-model-archiver",
        "--model-name",
        "textbook",
        "--version",
        "1.0",
        "--serialized-file",
        "textbook.pt",
    ]
    subprocess.run([*command, "--handler", handler], check=True)
