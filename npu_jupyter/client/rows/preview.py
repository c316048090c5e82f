"""The first rows of a frame, with the reasons where a model gave no value."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from npu_jupyter.client.rows import frames

_CELL = "text-align:left;padding:4px 12px"
_BODY = "color:var(--jp-ui-font-color1);font-variant-numeric:tabular-nums"
_LONGEST = 120
"""Characters of a cell that are shown."""
_LONGEST_PLAIN = 60
_BAR_PX = 112
"""Width of the bar of a label that every row has."""


class Preview:
    """Shows itself as a table, in a terminal as text."""

    def __init__(self, frame: pd.DataFrame, n: int) -> None:
        """Show `n` rows of `frame`."""
        self._rows = len(frame)
        self._head = frame.head(n)
        self._reasons = _reasons(frame, n)
        self._counts = _counts(frame)

    def __repr__(self) -> str:
        shown = self._head.astype("object")
        for (position, column), reason in self._reasons.items():
            shown.iloc[position, column] = f"NA: {reason}"
        counted = "".join(
            f"\n{name}: " + ", ".join(f"{label} {count:,}" for label, count in counts.items())
            for name, counts in self._counts.items()
        )
        table = shown.to_string(max_colwidth=_LONGEST_PLAIN)
        return f"{table}\n{len(shown):,} of {self._rows:,} rows{counted}"

    def _repr_html_(self) -> str:
        heads = "".join(
            f'<th scope="col" style="{_CELL}">{escape(str(name))}</th>'
            for name in self._head.columns
        )
        rows = "".join(
            f'<tr><th scope="row" style="{_CELL}">{escape(str(label))}</th>'
            + "".join(self._cell(row, column) for column in range(self._head.shape[1]))
            + "</tr>"
            for row, label in enumerate(self._head.index)
        )
        return (
            f'<table style="{_BODY}"><thead><tr><th></th>{heads}</tr></thead>'
            f"<tbody>{rows}</tbody></table>"
            f'<div style="{_BODY}">{len(self._head):,} of {self._rows:,} rows</div>'
            + "".join(map(self._bars, self._counts))
        )

    def _cell(self, row: int, column: int) -> str:
        reason = self._reasons.get((row, column))
        if reason is not None:
            return (
                f'<td style="{_CELL};color:var(--jp-error-color1)">'
                f'<span aria-hidden="true">✗</span> NA: {escape(reason)}</td>'
            )
        text = str(self._head.iloc[row, column])
        text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
        return f'<td style="{_CELL}">{escape(text)}</td>'

    def _bars(self, name: str) -> str:
        bars = "".join(
            f'<span style="margin-right:16px"><span style="display:inline-block;height:8px;'
            f"width:{_BAR_PX * count / max(1, self._rows):.0f}px;margin-right:6px;"
            f'background:var(--jp-brand-color1)"></span>{escape(str(label))} {count:,}</span>'
            for label, count in self._counts[name].items()
        )
        return f'<div style="{_BODY}">{escape(name)}: {bars}</div>'


def _reasons(frame: pd.DataFrame, n: int) -> dict[tuple[int, int], str]:
    """Say why cells have no value: in each column that misses all that a run has missed."""
    found: dict[tuple[int, int], str] = {}
    for past in frames.past_runs(frame):
        failed = list(past.reasons)
        for column in range(frame.shape[1]):
            if failed and frame.iloc[failed, column].isna().all():
                found |= {
                    (position, column): reason
                    for position, reason in past.reasons.items()
                    if position < n
                }
    return found


def _counts(frame: pd.DataFrame) -> dict[str, dict[Any, int]]:
    """Count the values of each column of labels, the most frequent first."""
    found = {}
    for name, column in frame.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            counts = column.value_counts().to_dict() | {"NA": int(column.isna().sum())}
            found[str(name)] = {label: count for label, count in counts.items() if count}
    return found
