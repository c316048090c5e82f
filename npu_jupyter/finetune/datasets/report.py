"""What a check tells of a dataset."""

from __future__ import annotations

import msgspec

from npu_jupyter.errors import InvalidRequest

LINES_NAMED = 20
"""Lines that are named for each reason; the count tells how many there are."""
REASONS_NAMED = 50
"""Reasons that are told; rows with others are counted together."""


class BadRows(msgspec.Struct):
    """Rows that cannot be used for the same reason."""

    reason: str
    count: int
    lines: list[int]
    """The first `LINES_NAMED`."""


class TokenCounts(msgspec.Struct):
    """How long the good rows are, as they are learned."""

    min: int
    median: int
    p95: int
    max: int
    total: int
    learned: int
    """Of `total`, how many are learned."""


class Segment(msgspec.Struct):
    """A run of text that is either learned or only read."""

    text: str
    learned: bool


class PreviewRow(msgspec.Struct):
    """One row as the model will read it."""

    line: int
    segments: list[Segment]
    tokens: int
    learned_tokens: int
    cut_tokens: int


class DatasetReport(msgspec.Struct):
    """The whole of a dataset, checked for one model and recipe."""

    found: str
    """What was detected, and why, in words."""
    container: str
    """jsonl, json, csv, tsv, parquet, arrow, txt or hub."""
    format: str
    """messages, sharegpt, prompt, alpaca or text."""
    encoding: str | None
    columns: dict[str, str]
    """Our names to the dataset's."""
    all_columns: list[str]
    unit: str
    """What the numbers of rows count: line or row."""
    rows: int
    good_rows: int
    bad_rows: int
    reasons: list[BadRows]
    nothing_to_learn: int
    """Bad rows that are well formed and hold nothing to learn."""
    tokens: TokenCounts | None
    """None when no row is good."""
    max_length: int
    """Tokens to which rows are cut."""
    cut_rows: int
    cut_tokens: int
    duplicates: int
    """Good rows that say what another has said before."""
    sha256: str
    """Of the source's bytes."""
    warnings: list[str]
    preview: list[PreviewRow]

    def require_good(self, max_bad_rows: int) -> None:
        """Raise `InvalidRequest`, with all that is wrong, unless a run may start on this."""
        if self.bad_rows <= max_bad_rows and self.good_rows:
            return
        limit = "none of them is good" if not self.good_rows else f"{max_bad_rows} may be"
        raise InvalidRequest(
            f"{self.bad_rows:,} of {self.rows:,} rows cannot be used, and {limit}. "
            f"{self._complaints()} Mend them, or allow more with max_bad_rows: they are left out.",
            param="dataset",
        )

    def _complaints(self) -> str:
        told = []
        for bad in self.reasons:
            lines = ", ".join(str(line) for line in bad.lines)
            more = bad.count - len(bad.lines)
            end = f" and {more:,} more" if more else ""
            told.append(f"{self.unit.capitalize()} {lines}{end}: {bad.reason}.")
        return "\n".join(["", *told, ""])
