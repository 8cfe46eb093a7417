"""Writes the results of ``digitserve predict`` to standard output, or to a file that a later run can continue.

Results are appended in order. If the run is killed, the file has all results up to some moment, and perhaps a part of
the next. A run with ``--resume`` cuts off that part.
"""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from app.cli.image_files import ImageFile
from app.errors import UsageError

Format = Literal["text", "json", "csv"]
MAX_SHOWN = 0.9999  # no reading is certain
ACCEPTED, FAILED = "accepted", "could not be read"


class Outcome(NamedTuple):
    """The answer for a file, or the reason why there is none."""

    file: str
    answer: dict[str, Any] | None  # as POST /predict or POST /read answers
    error: str | None = None

    @property
    def verdict(self) -> str:
        """``accepted``, or the reason why the answer was not, or that the file could not be read."""
        if self.answer is None:
            return FAILED
        return str(self.answer.get("reason") or ACCEPTED)

    def to_text(self) -> str:
        """Return one line for people."""
        if self.answer is None:
            return f"{self.file}: {self.error}\n"
        if self.answer["confidence"] is None:
            return f"{self.file}: nothing ({self.answer['reason']})\n"
        text = self.answer["text"].replace("\n", " ") if "text" in self.answer else self.answer["digit"]
        doubt = "" if self.answer["accepted"] else f"  not accepted: {self.answer['reason']}"
        return f"{self.file}: {text}  {min(self.answer['confidence'], MAX_SHOWN):.2%}{doubt}\n"

    def to_json(self) -> str:
        """Return a line of JSON: the file and the fields of the answer, or the file and the error."""
        return json.dumps({"file": self.file, **(self.answer or {"error": self.error})}) + "\n"

    def to_csv(self, columns: Sequence[str]) -> str:
        """Return a CSV record."""
        values = {"file": self.file, "error": self.error, **(self.answer or {})}
        return to_csv_record([values.get(column) for column in columns])


class Tally:
    """Counts the verdicts of the results in an output, including those of earlier runs."""

    def __init__(self) -> None:
        self._verdicts: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many results there are."""
        return self._verdicts.total()

    @property
    def failed(self) -> int:
        """How many of the files could not be read."""
        return self._verdicts[FAILED]

    def summarize(self, see: str = "") -> str:
        """Return how many files were read, accepted and refused for which reason. ``see`` says where errors are."""
        reasons = [(self._verdicts[name], name) for name in sorted(self._verdicts.keys() - {ACCEPTED, FAILED})]
        parts = [f"{number:,} {name}" for number, name in [(self._verdicts[ACCEPTED], ACCEPTED), *reasons]]
        text = f"{self.count - self.failed:,} of {self.count:,} files read: {', '.join(parts)}"
        return f"{text}. {self.failed:,} {FAILED}{see}" if self.failed else text


def to_csv_record(values: Sequence[object]) -> str:
    """Return a CSV record, quoted as in RFC 4180. Booleans are ``true`` and ``false``, and None is an empty field."""
    record = io.StringIO()
    fields = [str(value).lower() if isinstance(value, bool) else value for value in values]
    csv.writer(record, lineterminator="\r\n").writerow(fields)  # so that it quotes values with either character
    return record.getvalue().removesuffix("\r\n") + "\n"


@contextmanager
def open_output(
    file: Path | None, format: Format, whole_numbers: bool = False, resume: bool = False
) -> Iterator["Output"]:
    """Open a file, or standard output.

    Args:
        file: The file to write. It is created if it does not exist. None means standard output.
        format: The format. A file in the ``text`` format cannot be continued.
        whole_numbers: Whether the answers come from ``POST /read``.
        resume: Whether to continue the file if it exists.

    Raises:
        UsageError: The file exists and is not to be continued, or cannot be.
        OSError: The file cannot be opened.
    """
    if file is None:
        yield Output(sys.stdout.buffer, format, whole_numbers)
        return
    with file.open("ab+") as stream:
        output = Output(stream, format, whole_numbers)
        if stream.tell() and not resume:
            raise UsageError(f"{file} already exists; --resume continues it")
        try:
            output.load_earlier_results()
        except (ValueError, csv.Error) as error:
            raise UsageError(f"{file} cannot be continued: {error}") from None
        yield output


class Output(Tally):
    """A stream that outcomes are written to."""

    def __init__(self, stream: BinaryIO, format: Format, whole_numbers: bool = False) -> None:
        super().__init__()
        self._stream, self._format = stream, format
        self._answer_field = "text" if whole_numbers else "digit"
        self._columns = ("file", self._answer_field, "confidence", "accepted", "reason", "error")
        self._header = to_csv_record(self._columns) if format == "csv" else ""  # empty once it is written
        self._done: Counter[str] = Counter()  # counts, because a file that is named twice has two outcomes

    def load_earlier_results(self) -> None:
        """Read which files earlier runs have done, and cut off an incomplete result.

        Raises:
            ValueError, csv.Error: The file is not one that such a run writes.
        """
        self._stream.seek(0)
        end = 0
        for after, file, verdict in self._read_csv() if self._format == "csv" else self._read_json():
            end = after
            if file is not None:
                self._done[file] += 1
                self._verdicts[verdict] += 1
        self._stream.truncate(end)
        if end:
            self._header = ""

    def skip_done(self, images: Iterable[ImageFile]) -> Iterator[ImageFile]:
        """Return only the files that earlier runs have not done."""
        for image in images:
            if self._done[image.file]:
                self._done[image.file] -= 1
            else:
                yield image

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes and flush them. In the ``text`` format, errors go to standard error."""
        self._verdicts.update(outcome.verdict for outcome in outcomes)
        text, self._header = self._header + "".join(map(self._format_outcome, outcomes)), ""
        self._stream.write(text.encode(errors="surrogateescape"))  # keeps file names that are not UTF-8
        self._stream.flush()

    def _format_outcome(self, outcome: Outcome) -> str:
        if self._format == "json":
            return outcome.to_json()
        if self._format == "csv":
            return outcome.to_csv(self._columns)
        if outcome.answer is None:
            sys.stderr.write(outcome.to_text())
            return ""
        return outcome.to_text()

    def _read_json(self) -> Iterator[tuple[int, str, str]]:
        """Return for each complete line: where it ends in bytes, its file and its verdict."""
        end = 0
        for line in self._stream:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            row = json.loads(line)
            if not isinstance(row, dict) or "file" not in row or not row.keys() & {self._answer_field, "error"}:
                raise ValueError(f"a line has no file with a {self._answer_field}")
            yield end, row["file"], Outcome(row["file"], None if "error" in row else row).verdict

    def _read_csv(self) -> Iterator[tuple[int, str | None, str]]:
        """Return the same for each complete record. The header has no file."""
        end, at_end = 0, False

        def lines() -> Iterator[str]:
            nonlocal end, at_end
            for line in self._stream:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                yield line.decode(errors="surrogateescape")
            at_end = True

        records = csv.reader(lines(), strict=True)
        try:
            header = next(records, None)
            if header is None:
                return
            if tuple(header) != self._columns:
                raise ValueError(f"its first line is not {','.join(self._columns)}")
            yield end, None, ""
            for record in records:
                if len(record) != len(self._columns):
                    raise ValueError(f"line {records.line_num} does not have {len(self._columns)} fields")
                file, *_, reason, error = record
                yield end, file, FAILED if error else reason or ACCEPTED
        except csv.Error:
            if not at_end:  # at the end, the record is only cut off within quotes
                raise
