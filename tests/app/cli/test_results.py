"""Where outcomes are written, and how a later run goes on with it."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import UsageError
from app.cli.image_files import Found
from app.cli.results import Outcome
from app.cli.results import Format, open_output

SEVEN: dict[str, Any] = {"digit": 7, "confidence": 0.75, "probabilities": [], "accepted": True, "reason": None}
BLANK: dict[str, Any] = {"digit": None, "confidence": None, "probabilities": [], "accepted": False, "reason": "blank"}
# Names that a table or a line could be broken by: the last is no UTF-8, as old archives have them.
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


def test_a_table_has_a_header_and_a_record_a_file(tmp_path: Path) -> None:
    """Any reader of CSV gets the names, the digits and the errors back, whatever is in them."""
    write(tmp_path / "x.csv", "csv", OUTCOMES)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *records = csv.reader(file)
    assert header == ["file", "digit", "confidence", "accepted", "reason", "error"]
    assert [record[0] for record in records] == [outcome.file for outcome in OUTCOMES]
    assert records[0] == ["a.png", "7", "0.75", "true", "", ""]
    assert records[-3] == ["blank.png", "", "", "false", "blank", ""]
    assert records[-2] == ["bad.png", "", "", "", "", 'It is "bad",\nand long.']


def test_json_is_an_object_a_line(tmp_path: Path) -> None:
    """The file and the fields of the answer, or the file and the error."""
    write(tmp_path / "x.jsonl", "json", OUTCOMES)
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == [outcome.file for outcome in OUTCOMES]
    assert rows[0] == {"file": "a.png", **SEVEN}
    assert rows[-2] == {"file": "bad.png", "error": 'It is "bad",\nand long.'}


@formats
def test_wherever_it_was_broken_off_it_can_be_gone_on_with(tmp_path: Path, format: Format) -> None:
    """Cut off after any byte, the file becomes by a second run what it would have been by one."""
    file = tmp_path / "x"
    write(file, format, OUTCOMES)
    whole = file.read_bytes()
    by_name = {outcome.file: outcome for outcome in OUTCOMES}
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with open_output(file, format, resume=True) as output:
            before = output.written
            missing = list(output.missing(Found(outcome.file) for outcome in OUTCOMES))
            assert [found.file for found in missing] == [outcome.file for outcome in OUTCOMES[before:]]
            output.write([by_name[found.file] for found in missing])
            assert (output.written, output.failed) == (len(OUTCOMES), 1)
        assert file.read_bytes() == whole, size


@formats
def test_each_outcome_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path, format: Format) -> None:
    """Whatever happens to the process then."""
    with open_output(tmp_path / "x", format) as output:
        sizes = []
        for outcome in OUTCOMES:
            output.write([outcome])
            sizes.append((tmp_path / "x").stat().st_size)
        assert sizes == sorted(set(sizes))
    assert (tmp_path / "x").stat().st_size == sizes[-1]


@formats
def test_files_that_have_come_since_are_done_at_the_end(tmp_path: Path, format: Format) -> None:
    """And those that have gone do no harm."""
    write(tmp_path / "x", format, [Outcome("b", SEVEN), Outcome("gone", SEVEN)])
    with open_output(tmp_path / "x", format, resume=True) as output:
        assert list(output.missing([Found("a"), Found("b"), Found("c")])) == [Found("a"), Found("c")]


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
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, format: Format, content: bytes) -> None:
    """It may be somebody's work."""
    (tmp_path / "x").write_bytes(content)
    for resume in (False, True):
        with pytest.raises(UsageError), open_output(tmp_path / "x", format, resume=resume):
            pass
        assert (tmp_path / "x").read_bytes() == content
