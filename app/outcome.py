"""What came of one file: the answer, or why there is none; and how that is written. Knows not where to."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    file: str
    answer: dict[str, Any] | None  # as POST /predict or POST /read answers it
    error: str | None = None  # why there is no answer

    def in_words(self) -> str:
        """This in a line."""
        if self.answer is None:
            return f"{self.file}: {self.error}\n"
        if self.answer["confidence"] is None:
            return f"{self.file}: nothing ({self.answer['reason']})\n"
        read = self.answer["text"].replace("\n", " ") if "text" in self.answer else self.answer["digit"]
        doubt = "" if self.answer["accepted"] else f"  not accepted: {self.answer['reason']}"
        return f"{self.file}: {read}  {self.answer['confidence']:.2%}{doubt}\n"

    def as_json(self) -> str:
        """This as a line of JSON: the file and the answer's own fields, or the file and the error."""
        return json.dumps({"file": self.file, **(self.answer or {"error": self.error})}) + "\n"

    def as_csv(self, columns: Sequence[str]) -> str:
        """This as a record of CSV."""
        values = {"file": self.file, "error": self.error, **(self.answer or {})}
        return csv_record([values.get(column) for column in columns])


def csv_record(values: Sequence[object]) -> str:
    """A record of CSV, as RFC 4180 quotes it; ``true`` and ``false`` as JSON has them, and nothing for None."""
    record = io.StringIO()
    plain = [str(value).lower() if isinstance(value, bool) else value for value in values]
    csv.writer(record, lineterminator="\r\n").writerow(plain)  # so that either in a value is quoted
    return record.getvalue().removesuffix("\r\n") + "\n"
