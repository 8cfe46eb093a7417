"""The fuzzer: it finds what is wrong, and finds nothing in a few thousand inputs."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.errors import BrokenImageError
from benchmarks.fuzz import SLOW, Finding, check, run, write
from benchmarks.mutations import CORPUS, Input, make
from tests.support.running import ROOT, clean_environment

SEED = 20261124
FAULTS = ("an exception", "a crash", "a hang", "a leak", "a long way round")
TRAPS = {make(SEED, 10 + number).body: fault for number, fault in enumerate(FAULTS)}


def trapped(given: Input) -> str:
    """Go wrong, each time in another way, at five of the inputs."""
    fault = TRAPS.get(given.body)
    if fault == "an exception":
        raise KeyError("a key that is not there")
    if fault == "a crash":
        os.abort()
    if fault == "a hang":
        time.sleep(60)
    if fault == "a leak":
        assert len(b"x" * 300_000_000)
    if fault == "a long way round":
        began = time.process_time()
        while time.process_time() < began + 1.1 * SLOW:
            pass
    return "fine"


def test_every_seed_of_the_corpus_is_read() -> None:
    """Unchanged, each file is a picture, in whatever form it comes: so what is changed starts from what works."""
    for given in CORPUS:
        assert check(given).startswith("read, ")


def test_thousands_of_changed_inputs_do_no_harm() -> None:
    """A picture or a RequestError, in time, in little memory, the same by both ways; some of each format are read."""
    result = run(SEED, inputs=4_000)
    assert result.findings == {}
    assert result.inputs == 4_000
    reads = {f"read, {format}" for format in ("PNG", "JPEG", "WEBP", "BMP", "GIF")}
    refusals = {"MalformedRequestError", "UnsupportedMediaError", "BrokenImageError", "ImageSizeError"}
    assert set(result.outcomes) == reads | refusals


def test_what_is_wrong_is_found_and_the_search_goes_on() -> None:
    """An exception, a crash, a hang, a leak and slowness are findings of their inputs; those in between are tried."""
    result = run(SEED, inputs=20, check=trapped, hang=3.0)
    assert sorted(result.findings) == [10, 11, 12, 13, 14]
    assert "KeyError: 'a key that is not there'" in result.findings[10]
    assert result.findings[11] == "its process ended with -6"
    assert result.findings[12] == "it did not end within 3.0 s"
    assert result.findings[13].endswith(" MB")
    assert result.findings[14].startswith("it took 1.")
    assert result.outcomes == {"fine": 15, "finding": 5}


def test_the_quick_ways_are_held_against_the_general_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick way that reads what the general one does not is a finding."""
    plain = next(given for given in CORPUS if given.body.startswith(b"\x89PNG"))
    check(plain)

    def refuse(data: bytes, max_pixels: int) -> None:
        raise BrokenImageError("not today")

    monkeypatch.setattr("benchmarks.fuzz.decode", refuse)
    with pytest.raises(Finding, match="the quick way reads a PNG"):
        check(plain)


def test_a_finding_can_be_made_again(tmp_path: Path) -> None:
    """It is written with its body and a command, and the command tries that very input."""
    body = write(tmp_path / "findings", SEED, 4711, "it took 300 MB")
    assert body.read_bytes() == make(SEED, 4711).body
    about = json.loads(body.with_suffix(".json").read_text())
    assert about["found"] == "it took 300 MB"
    command = about["again"].split()
    assert command[0] == "python"
    done = subprocess.run(
        [sys.executable, *command[1:]], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == check(make(SEED, 4711))
