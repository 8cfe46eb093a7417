"""The fuzzer: it finds faults that are there, and finds none in a few thousand inputs."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.errors import BrokenImageError
from benchmarks.fuzz import MAX_CPU_S, Finding, check_input, run, write_finding
from benchmarks.mutations import CORPUS, Input, make_input
from tests.support.running import ROOT, clean_environment

pytestmark = pytest.mark.fuzz

SEED = 20261124
FAULTS = ("exception", "crash", "hang", "memory", "slow")
FAULT_BY_BODY = {make_input(SEED, 10 + number).body: fault for number, fault in enumerate(FAULTS)}


def check_with_faults(given: Input) -> str:
    """Misbehave at five of the inputs, each time in another way."""
    fault = FAULT_BY_BODY.get(given.body)
    if fault == "exception":
        raise KeyError("missing key")
    if fault == "crash":
        os.abort()
    if fault == "hang":
        time.sleep(60)
    if fault == "memory":
        assert len(b"x" * 300_000_000)
    if fault == "slow":
        started = time.process_time()
        while time.process_time() < started + 1.1 * MAX_CPU_S:
            pass
    return "fine"


def test_every_seed_of_the_corpus_is_read() -> None:
    """Every file of the corpus is readable in every form of request, so mutations start from valid input."""
    for given in CORPUS:
        assert check_input(given).startswith("read, ")


def test_thousands_of_changed_inputs_do_no_harm() -> None:
    """Each ends with a picture or a RequestError, in time and in little memory; each format is read at least once."""
    result = run(SEED, inputs=4_000)
    assert result.findings == {}
    assert result.inputs == 4_000
    reads = {f"read, {format}" for format in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "HEIC", "TIFF")}
    refusals = {"MalformedRequestError", "UnsupportedMediaError", "BrokenImageError", "ImageSizeError"}
    assert set(result.outcomes) == reads | refusals


def test_faults_are_found_and_the_search_continues() -> None:
    """An exception, a crash, a hang, excessive memory and slowness are findings; the other inputs are still tried."""
    result = run(SEED, inputs=20, check=check_with_faults, hang_timeout=15.0)
    assert sorted(result.findings) == [10, 11, 12, 13, 14]
    assert "KeyError: 'missing key'" in result.findings[10]
    assert result.findings[11] == "its process ended with -6"
    assert result.findings[12] == "it did not end within 15.0 s"
    assert result.findings[13].endswith(" MB")
    assert result.findings[14].startswith("it took 1.")
    assert result.outcomes == {"fine": 15, "finding": 5}


def test_fast_readers_are_compared_with_general_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding if the plain PNG decoder reads a file that the general decoder rejects."""
    plain = next(given for given in CORPUS if given.body.startswith(b"\x89PNG"))
    check_input(plain)

    def reject(data: bytes, max_pixels: int) -> None:
        raise BrokenImageError("not today")

    monkeypatch.setattr("benchmarks.fuzz.decode", reject)
    with pytest.raises(Finding, match="the plain PNG decoder reads a file"):
        check_input(plain)


def test_a_finding_can_be_reproduced(tmp_path: Path) -> None:
    """It is written with its body and a command, and the command tries the same input."""
    body = write_finding(tmp_path / "findings", SEED, 4711, "it took 300 MB")
    assert body.read_bytes() == make_input(SEED, 4711).body
    about = json.loads(body.with_suffix(".json").read_text())
    assert about["found"] == "it took 300 MB"
    command = about["again"].split()
    assert command[0] == "python"
    done = subprocess.run(
        [sys.executable, *command[1:]], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == check_input(make_input(SEED, 4711))
