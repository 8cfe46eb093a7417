"""Ctrl-C ends each command with one line, and a command without its packages says what to install."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.running import ROOT
from tests.training.commands.running import environment
from training.__main__ import COMMANDS

# Interrupts a command as soon as its handler runs, wherever it would be by then.
INTERRUPT = """
import argparse, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import training.__main__
parse = argparse.ArgumentParser.parse_args
def parse_and_interrupt(*values):
    arguments = parse(*values)
    arguments.handler = lambda arguments: signal.raise_signal(signal.SIGINT)
    return arguments
argparse.ArgumentParser.parse_args = parse_and_interrupt
sys.exit(training.__main__.main())
"""

# Says when the command line starts. (A background job inherits that SIGINT is ignored.)
TRAIN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import training.__main__
print("started", flush=True)
sys.exit(training.__main__.main())
"""

# Runs a command where torch cannot be imported.
WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "safetensors", "onnx", "sklearn", "scipy", "matplotlib", "rich"):
    sys.modules[name] = None
import training.__main__
sys.exit(training.__main__.main())
"""

MINIMAL_ARGUMENTS = {
    "cascade": ("fast", "careful", "--output", "m"),
    "compression": ("m",),
    "evaluate": ("m",),
    "export": ("m", "--output", "n"),
    "finetune": ("own", "--output", "m"),
    "model-card": ("m",),
    "out-of-distribution": ("m",),
    "robustness": ("m",),
    "seeds": ("m", "--into", "n"),
}
NAMES = [command.__name__.rpartition(".")[2].replace("_", "-") for command in COMMANDS]


def run_script(script: str, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    arguments = (name, *MINIMAL_ARGUMENTS.get(name, ()), "--data-dir", str(folder))
    environ = environment(folder)
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_ctrl_c_prints_one_line(name: str, tmp_path: Path) -> None:
    """The exit status is that of an interrupted program, and there is no traceback."""
    done = run_script(INTERRUPT, name, tmp_path)
    assert (done.returncode, done.stderr) == (130, "training: interrupted\n")


@pytest.mark.parametrize("name", NAMES)
def test_without_torch_a_command_says_what_to_install(name: str, tmp_path: Path) -> None:
    """One line names a missing package and the command that installs it."""
    done = run_script(WITHOUT_TORCH, name, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("training: this needs the package ")
    assert f"-m pip install -e '{ROOT}[torch,train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("delay", [0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0])
def test_ctrl_c_at_any_time_of_a_training_prints_no_traceback(delay: float, folder: Path) -> None:
    """While it imports torch, reads MNIST or trains: the exit status is 130, and there is no traceback."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, "train", "--recipe", "textbook", "--epochs", "10000"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "started\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in stderr) == (130, False), stderr
    assert "nterrupted" in stdout + stderr


def test_the_help_imports_nothing_large() -> None:
    """The help of all commands needs the standard library and this repository, so it takes a tenth of a second."""
    script = (
        "import sys; from training.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not packages & {"torch", "numpy", "pydantic", "PIL", "cv2", "onnxruntime", "rich", "sklearn", "fastapi"}
