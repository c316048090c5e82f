"""Values and reasons as Series and DataFrames, and the runs that a frame's columns came from."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from npu_jupyter.client.rows.run import Results

if TYPE_CHECKING:
    from npu_jupyter.client.rows.schema import OutputSchema

ATTRIBUTE = "npu_errors"
"""The entry of `attrs` with the reasons by position: plain values, as pandas compares them."""
_REMEMBERED = 16

_COLUMNS = ["column", "operation", "reason"]


@dataclass(frozen=True, slots=True, eq=False)
class PastRun:
    """What is remembered of a run, to explain what is missing in a frame that has its result."""

    operation: str
    source: str
    index: pd.Index[Any]
    reasons: dict[int, str]


_past: deque[PastRun] = deque(maxlen=_REMEMBERED)


def remember(operation: str, source: str, index: pd.Index[Any], reasons: dict[int, str]) -> None:
    """Keep what a run tells of the rows of `index`, instead of what it told before."""
    for past in list(_past):
        if (past.operation, past.source) == (operation, source) and past.index.equals(index):
            _past.remove(past)
    _past.append(PastRun(operation, source, index, reasons))


def series(results: Results, index: pd.Index[Any], name: str | None, dtype: Any) -> pd.Series[Any]:
    """Give values as a column; NA where there is none."""
    values = [pd.NA if value is None else value for value in results.answers]
    made: pd.Series[Any] = pd.Series(values, index=index, name=name, dtype=dtype)
    made.attrs[ATTRIBUTE] = results.reasons
    return made


def columns(results: Results, index: pd.Index[Any], schema: OutputSchema) -> pd.DataFrame:
    """Give objects as typed columns; NA where there is none."""
    made = pd.DataFrame(
        {
            name: pd.Series(
                [
                    pd.NA if row is None or row[name] is None else row[name]
                    for row in results.answers
                ],
                index=index,
                dtype=dtype,
            )
            for name, dtype in schema.columns.items()
        },
        index=index,
    )
    made.attrs[ATTRIBUTE] = results.reasons
    return made


def errors_of(result: pd.Series[Any] | pd.DataFrame) -> pd.DataFrame:
    """Tabulate why rows of a result have no value, by their labels."""
    reasons: dict[int, str] = result.attrs.get(ATTRIBUTE, {})
    labels = result.index.take(list(reasons)) if len(result) else result.index
    return pd.DataFrame({"reason": list(reasons.values())}, index=labels, dtype="object")


def past_runs(frame: pd.DataFrame) -> list[PastRun]:
    """Find the runs over columns of `frame`, the oldest first."""
    return [
        past
        for past in _past
        if past.source in map(str, frame.columns) and past.index.equals(frame.index)
    ]


def errors_in(frame: pd.DataFrame) -> pd.DataFrame:
    """Tabulate why rows of a frame have no value after the last runs over its columns."""
    rows = [
        (past.index[position], past.source, past.operation, reason)
        for past in past_runs(frame)
        for position, reason in past.reasons.items()
    ]
    made = pd.DataFrame([row[1:] for row in rows], columns=_COLUMNS, dtype="object")
    made.index = pd.Index([row[0] for row in rows], name=frame.index.name)
    return made
