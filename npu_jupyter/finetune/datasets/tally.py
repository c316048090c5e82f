"""Count what a dataset holds, row by row, and keep what its report shows."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import msgspec

from npu_jupyter.finetune.datasets.check import CheckRequest
from npu_jupyter.finetune.datasets.layout import Layout
from npu_jupyter.finetune.datasets.records import Reader, Record
from npu_jupyter.finetune.datasets.rendering import NOT_LEARNED, NOTHING, Example, Renderer
from npu_jupyter.finetune.datasets.report import (
    LINES_NAMED,
    REASONS_NAMED,
    BadRows,
    DatasetReport,
    PreviewRow,
    Segment,
    TokenCounts,
)
from npu_jupyter.finetune.datasets.rows import BadRow, Row

_OTHER_REASONS = "other reasons"


class Tally:
    """One pass over a dataset."""

    def __init__(
        self, request: CheckRequest, reader: Reader, layout: Layout, tokenizer: Any
    ) -> None:
        """Have nothing counted yet."""
        self._request = request
        self._reader = reader
        self._layout = layout
        self._tokenizer = tokenizer
        self._renderer = Renderer(tokenizer, request.max_length, request.assistant_only_loss)
        self._lengths = array("L")
        self._learned = 0
        self._cut = array("L")
        self._bad: dict[str, BadRows] = {}
        self._seen: set[bytes] = set()
        self._duplicates = 0
        self._preview: list[PreviewRow] = []
        self._content = hashlib.sha256()

    @property
    def rows(self) -> int:
        """Count the rows so far."""
        return len(self._lengths) + self._bad_rows

    @property
    def _bad_rows(self) -> int:
        return sum(bad.count for bad in self._bad.values())

    def take(self, records: Iterable[Record | BadRow]) -> Iterator[bytes]:
        """Take records in, and give the good rows in normal form."""
        encode = msgspec.json.Encoder().encode
        rows = [row for row in map(self._row, records) if row is not None]
        for row, example in zip(rows, self._renderer.render_all(rows), strict=True):
            if isinstance(example, BadRow):
                self._note_bad(example)
                continue
            self._note(example)
            encoded = encode(row)
            # What follows the line's number, which is what makes equal rows differ.
            self._note_content(encoded.partition(b",")[2])
            yield encoded

    def _row(self, record: Record | BadRow) -> Row | None:
        if isinstance(record, BadRow):
            self._note_bad(record)
            return None
        try:
            return self._layout.row(*record)
        except BadRow as error:
            self._note_bad(error)
            return None

    def _note_bad(self, error: BadRow) -> None:
        reason = error.reason
        if reason not in self._bad and len(self._bad) >= REASONS_NAMED:
            reason = _OTHER_REASONS
        bad = self._bad.setdefault(reason, BadRows(reason, 0, []))
        bad.count += 1
        if len(bad.lines) < LINES_NAMED:
            bad.lines.append(error.line)

    def _note(self, example: Example) -> None:
        self._lengths.append(len(example.input_ids))
        self._learned += example.learned_tokens
        if example.cut_tokens:
            self._cut.append(example.cut_tokens)
        if len(self._preview) < self._request.preview:
            self._preview.append(self._shown(example))

    def _note_content(self, content: bytes) -> None:
        self._content.update(content)
        mark = hashlib.blake2b(content, digest_size=8).digest()
        self._duplicates += mark in self._seen
        self._seen.add(mark)

    def _shown(self, example: Example) -> PreviewRow:
        ids, labels = example.input_ids, example.labels
        learned = [label != NOT_LEARNED for label in labels]
        changes = [i for i in range(1, len(ids)) if learned[i] != learned[i - 1]]
        # Texts of growing beginnings, as a tokenizer may tidy what stands at the start.
        ends = [0, *changes, len(ids)]
        texts = ["", *(self._tokenizer.decode(ids[:end]) for end in ends[1:])]
        return PreviewRow(
            line=example.line,
            segments=[
                Segment(after[len(before) :], learned[start])
                for (before, after), start in zip(pairwise(texts), ends, strict=False)
            ],
            tokens=len(ids),
            learned_tokens=example.learned_tokens,
            cut_tokens=example.cut_tokens,
        )

    def report(self, found: str, all_columns: list[str], sha256: str | None) -> DatasetReport:
        """Sum up."""
        nothing = self._bad.get(NOTHING)
        return DatasetReport(
            found=found,
            container=self._reader.container,
            format=self._layout.format,
            encoding=self._reader.encoding,
            columns=self._layout.columns,
            all_columns=all_columns,
            unit=self._reader.unit,
            rows=self.rows,
            good_rows=len(self._lengths),
            bad_rows=self._bad_rows,
            reasons=sorted(self._bad.values(), key=lambda bad: bad.lines[0]),
            nothing_to_learn=nothing.count if nothing else 0,
            tokens=self._token_counts(),
            max_length=self._request.max_length,
            cut_rows=len(self._cut),
            cut_tokens=sum(self._cut),
            duplicates=self._duplicates,
            sha256=sha256 or self._content.hexdigest(),
            warnings=self._renderer.warnings,
            preview=self._preview,
        )

    def _token_counts(self) -> TokenCounts | None:
        if not self._lengths:
            return None
        lengths = sorted(self._lengths)
        last = len(lengths) - 1
        return TokenCounts(
            min=lengths[0],
            median=lengths[last // 2],
            p95=lengths[round(last * 0.95)],
            max=lengths[-1],
            total=sum(lengths),
            learned=self._learned,
        )
