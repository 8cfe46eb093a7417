"""The commands of the pages that read the real MNIST print what the pages say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import ROOT

pytest.importorskip("torch")

pytestmark = [pytest.mark.long, pytest.mark.training]

README = (ROOT / "README.md").read_text()
ROBUSTNESS = (ROOT / "docs" / "robustness.md").read_text()


def run(arguments: str, folder: Path, data_dir: Path) -> str:
    """Run ``python -m`` with documented arguments in a folder, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DIGITS_DATA_DIR": str(data_dir), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def find_shares(text: str, row: str) -> list[float]:
    """Return the percentages in a row of a table that is printed or in Markdown."""
    (line,) = re.findall(rf"^[ |]*{row}.*$", text, re.M)
    return [float(share) for share in re.findall(r"([\d.]+) ?%", line)]


def test_the_quick_recipe_reads_as_well_as_the_readme_says(data_dir: Path, tmp_path: Path) -> None:
    """README's first command of training, on held-out digits: no test reads the test split."""
    ((arguments, accuracy),) = re.findall(
        r"^\.venv/bin/python -m (.*--recipe quick) --test +#.* ([\d.]+) %$", README, re.M
    )
    printed = run(arguments, tmp_path, data_dir)
    assert find_shares(printed, "accuracy")[0] == pytest.approx(float(accuracy), abs=0.35)
    assert (tmp_path / "runs" / "quick-0" / "manifest.json").is_file()


def test_corrupted_digits_are_read_as_well_as_the_page_says(data_dir: Path) -> None:
    """Both models of docs/robustness.md have the means that its table gives."""
    (arguments,) = re.findall(r"^`python -m (training robustness .*?)`", ROBUSTNESS, re.M)
    printed = find_shares(run(arguments, ROOT, data_dir), "mean of the corruptions")
    written = find_shares(ROBUSTNESS, "mean of the twelve corruptions")
    assert printed == pytest.approx(written, abs=0.1)


def test_what_is_no_digit_is_accepted_as_rarely_as_the_page_says(data_dir: Path) -> None:
    """Each row of docs/robustness.md has the share that the command prints."""
    (arguments,) = re.findall(r"^`python -m (training out-of-distribution .*?)`", ROBUSTNESS, re.M)
    printed = run(arguments, ROOT, data_dir)
    for printed_row, row in (
        ("clothes", r"clothes \(Fashion-MNIST\)"),
        ("letters", "printed Latin capitals"),
        ("foreign letters", "printed Greek and Cyrillic capitals"),
    ):
        assert find_shares(printed, printed_row)[0] == pytest.approx(find_shares(ROBUSTNESS, row)[0], abs=0.15)
    letters = ROBUSTNESS.partition("Three of the seventeen")[2].partition("\n\n")[0]
    written = [float(share) for share in re.findall(r"(\d+) %", letters)]
    most = find_shares(printed, "most accepted foreign letters")[:3] + find_shares(printed, "most accepted letters")[:2]
    assert most == pytest.approx(written, abs=2)
