"""Writing results, and continuing the file of an interrupted run."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.image_files import ImageFile
from app.cli.results import Format, Outcome, open_output
from app.errors import UsageError

SEVEN: dict[str, Any] = {"digit": 7, "confidence": 0.75, "probabilities": [], "accepted": True, "reason": None}
BLANK: dict[str, Any] = {"digit": None, "confidence": None, "probabilities": [], "accepted": False, "reason": "blank"}
# Names that could break a CSV record or a line. The last one is not UTF-8, like names in old archives.
NAMES = ["a.png", 'say "7".png', "one,two.png", "two\nlines.png", "\r.png", " .png", "é.png", "\udce9.png"]
OUTCOMES = [
    *(Outcome(name, SEVEN) for name in NAMES),
    Outcome("blank.png", BLANK),
    Outcome("bad.png", None, 'It is "bad",\nand long.'),
    Outcome("a.png", SEVEN),
]
formats = pytest.mark.parametrize("format", ["csv", "json"])


def write(file: Path, format: Format, outcomes: list[Outcome], resume: bool = False) -> None:
    with open_output(file, format, resume=resume) as output:
        output.write(outcomes)


def test_csv_has_a_header_and_one_record_per_file(tmp_path: Path) -> None:
    """Any CSV reader gets the names, digits and errors back, whatever characters they contain."""
    write(tmp_path / "x.csv", "csv", OUTCOMES)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *records = csv.reader(file)
    assert header == ["file", "digit", "confidence", "accepted", "reason", "error"]
    assert [record[0] for record in records] == [outcome.file for outcome in OUTCOMES]
    assert records[0] == ["a.png", "7", "0.75", "true", "", ""]
    assert records[-3] == ["blank.png", "", "", "false", "blank", ""]
    assert records[-2] == ["bad.png", "", "", "", "", 'It is "bad",\nand long.']


def test_json_has_one_object_per_line(tmp_path: Path) -> None:
    """It contains the file and the fields of the answer, or the file and the error."""
    write(tmp_path / "x.jsonl", "json", OUTCOMES)
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == [outcome.file for outcome in OUTCOMES]
    assert rows[0] == {"file": "a.png", **SEVEN}
    assert rows[-2] == {"file": "bad.png", "error": 'It is "bad",\nand long.'}


@formats
def test_a_file_cut_off_anywhere_can_be_continued(tmp_path: Path, format: Format) -> None:
    """Whatever byte the file ends after, a second run makes it the same as the file of one complete run."""
    file = tmp_path / "x"
    write(file, format, OUTCOMES)
    complete = file.read_bytes()
    by_name = {outcome.file: outcome for outcome in OUTCOMES}
    for size in range(len(complete)):
        file.write_bytes(complete[:size])
        with open_output(file, format, resume=True) as output:
            before = output.count
            remaining = list(output.skip_done(ImageFile(outcome.file) for outcome in OUTCOMES))
            assert [image.file for image in remaining] == [outcome.file for outcome in OUTCOMES[before:]]
            output.write([by_name[image.file] for image in remaining])
            assert (output.count, output.failed) == (len(OUTCOMES), 1)
        assert file.read_bytes() == complete, size


@formats
def test_each_outcome_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path, format: Format) -> None:
    """Nothing is lost if the process is killed later."""
    with open_output(tmp_path / "x", format) as output:
        sizes = []
        for outcome in OUTCOMES:
            output.write([outcome])
            sizes.append((tmp_path / "x").stat().st_size)
        assert sizes == sorted(set(sizes))
    assert (tmp_path / "x").stat().st_size == sizes[-1]


@formats
def test_new_files_are_read_by_a_resumed_run(tmp_path: Path, format: Format) -> None:
    """Files that have been deleted since are no problem."""
    write(tmp_path / "x", format, [Outcome("b", SEVEN), Outcome("gone", SEVEN)])
    with open_output(tmp_path / "x", format, resume=True) as output:
        assert list(output.skip_done([ImageFile("a"), ImageFile("b"), ImageFile("c")])) == [
            ImageFile("a"),
            ImageFile("c"),
        ]


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("csv", b"file,text,confidence,accepted,reason,error\na.png,7,1.0,true,,\n"),  # of --read
        ("csv", b'{"file": "a.png", "digit": 7}\n'),
        ("csv", b"file,digit,confidence,accepted,reason,error\na.png,7\nb.png,7,1.0,true,,\n"),
        ("csv", b'file,digit,confidence,accepted,reason,error\n"a"png,7,1.0,true,,\nb.png,7,1.0,true,,\n'),
        ("json", b'{"file": "a.png", "text": "7"}\n'),
        ("json", b"file,digit,confidence,accepted,reason,error\n"),
        ("json", b"7\n"),
    ],
)
def test_another_file_is_never_changed(tmp_path: Path, format: Format, content: bytes) -> None:
    """A file that such a run did not write is refused, because it may be somebody's work."""
    (tmp_path / "x").write_bytes(content)
    for resume in (False, True):
        with pytest.raises(UsageError), open_output(tmp_path / "x", format, resume=resume):
            pass
        assert (tmp_path / "x").read_bytes() == content
