"""One question about a column, from the cache or from the server, with a bar meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from npu_jupyter.client.bar import Bar, BarState, bar
from npu_jupyter.client.client import Client
from npu_jupyter.client.rows.asking import Answered, Asking
from npu_jupyter.client.rows.cache import Cache, cache_path
from npu_jupyter.client.rows.tasks import Task
from npu_jupyter.errors import NpuError


class Interrupted(KeyboardInterrupt):
    """The cell was interrupted; what is done is kept."""

    def _render_traceback_(self) -> list[str]:
        """Show one line: the traceback would be of our own waiting."""
        return [f"KeyboardInterrupt: {self}"]


@dataclass(slots=True)
class Results:
    """Answers by row, in the order of the rows; None where there is none, with the reason."""

    answers: list[Any]
    reasons: dict[int, str] = field(default_factory=dict)
    """Why a row has no value, by its position."""


class Run:
    """Answers a question for each of some texts; the same text is asked about once."""

    def __init__(
        self, client: Client, task: Task, texts: Sequence[str | None], *, cache: bool
    ) -> None:
        """Prepare; None stands for a row that has no text and gets no value."""
        self._client = client
        self._task = task
        self._texts = texts
        self._caching = cache
        self._values: dict[str, Any] = {}
        self._errors: dict[str, NpuError] = {}
        self._rows = Counter(text for text in texts if text is not None)
        self._cached = 0
        self._done = 0
        """Rows that have a value or an error."""
        self._device: str | None = None

    def results(self) -> Results:
        """Ask, and give what came.

        Raises:
            NpuError: no row can be answered.
            Interrupted: the cell was interrupted.
        """
        with closing(Cache(cache_path())) as cache:
            self._recall(cache)
            self._ask(cache)
        return Results(
            [None if text is None else self._values.get(text) for text in self._texts],
            {
                position: self._errors[text].message
                for position, text in enumerate(self._texts)
                if text in self._errors
            },
        )

    def _recall(self, cache: Cache) -> None:
        """Take from the cache what it has."""
        if not self._caching:
            return
        texts = {self._task.key(text): text for text in self._rows}
        for key, raw in cache.get(texts).items():
            self._values[texts[key]] = self._task.value(raw)
        self._cached = self._done = sum(self._rows[text] for text in self._values)

    def _ask(self, cache: Cache) -> None:
        left = [text for text in self._rows if text not in self._values]
        asking = Asking(self._client.url, self._client.key, self._task, left)
        total = sum(self._rows.values())
        line = bar(self._task.name, total, initial=self._cached, unit=" rows")
        try:
            with closing(asking.answers()) as answers:
                for some in answers:
                    self._device = asking.device
                    self._take(some, cache)
                    self._show(line)
        except KeyboardInterrupt:
            self._take(asking.kept(), cache)
            told = (
                f"Stopped: nothing more runs for this cell. {self._done:,} rows are kept; "
                f"run the cell again to go on with the other {total - self._done:,}."
            )
            self._move(line)
            line.end(BarState.STOPPED, told)
            raise Interrupted(told) from None
        except BaseException:
            line.end(BarState.STOPPED, "")
            raise
        self._move(line)
        line.end(BarState.DONE, self._summary(), always=bool(self._errors))

    def _take(self, answers: list[Answered], cache: Cache) -> None:
        fresh = {}
        for answer in answers:
            self._done += self._rows[answer.text]
            if answer.error is not None:
                self._errors[answer.text] = answer.error
            elif answer.raw is not None:
                self._values[answer.text] = answer.value
                fresh[self._task.key(answer.text)] = answer.raw
        if fresh and self._caching:
            cache.put(fresh)

    def _show(self, line: Bar) -> None:
        count = len(self._errors)
        errors = f" · {count:,} error{'s' * (count > 1)} so far" if count else ""
        line.note = f"{self._source()}{errors} · stop the kernel at any time: what is done is kept"
        self._move(line)

    def _move(self, line: Bar) -> None:
        line.update(self._done - line.n)

    def _source(self) -> str:
        where = f" on {self._device}" if self._device else ""
        cached = f" · {self._cached:,} from the cache" if self._cached else ""
        return f"{self._task.model.id}{where}{cached}"

    def _summary(self) -> str:
        """Say what came, and what is missing and why."""
        if not self._errors:
            return self._source()
        failed = sum(self._rows[text] for text in self._errors)
        reasons = Counter(
            (error.code or "failed").replace("_", " ") for error in self._errors.values()
        )
        why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        return (
            f"{self._source()} · {_rows(self._done - failed)} a value, {_rows(failed)} an error "
            f"({why}). The result's .npu.errors gives the reasons. Run the cell again to try only "
            f"{'this one' if failed == 1 else 'these'}."
        )


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"
