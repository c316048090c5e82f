"""A line on stderr that shows how far a job is."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import NoReturn, Self

from tqdm import tqdm

from npu_jupyter.finetune.records import EventKind, JobEvent, JobRecord

_FORMAT = "{desc} {percentage:3.0f}% {bar:20} {n_fmt}/{total_fmt}{postfix}"
_METRIC_EVERY_S = 5.0
"""Between two lines of metrics where the line cannot move."""


class JobLine:
    """Shows one line that moves on a terminal, and lines elsewhere."""

    def __init__(self, job_id: int) -> None:
        """Show the job of that number."""
        self._job_id = job_id
        self._bar: tqdm[NoReturn] | None = None
        self._moves = sys.stderr.isatty()
        self._told_at = -_METRIC_EVERY_S
        self._loss = ""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the line."""
        if self._bar is not None:
            self._bar.close()

    def update(self, job: JobRecord, events: list[JobEvent]) -> None:
        """Show a job as it is, and what has happened since."""
        for event in events:
            if event.kind is EventKind.METRIC:
                self._metric(event)
            elif text := _text(event):
                self._say(text)
        if self._moves:
            self._move(job)

    def _metric(self, event: JobEvent) -> None:
        losses = [
            f"{label} {event.data[key]:.4f}"
            for key, label in (("loss", "loss"), ("eval_loss", "validation loss"))
            if event.data.get(key) is not None
        ]
        self._loss = ", ".join(losses) or self._loss
        if not self._moves and time.monotonic() - self._told_at >= _METRIC_EVERY_S:
            self._told_at = time.monotonic()
            self._say(f"step {event.data.get('step')}: {self._loss}")

    def _say(self, text: str) -> None:
        tqdm.write(f"job {self._job_id}: {text}", file=sys.stderr)

    def _move(self, job: JobRecord) -> None:
        if self._bar is None:
            self._bar = tqdm(bar_format=_FORMAT, leave=False, dynamic_ncols=True)
        bar = self._bar
        bar.total = job.total_steps or None
        bar.n = job.current_step
        left = "" if job.eta_seconds is None else f"about {tqdm.format_interval(job.eta_seconds)}"
        bar.set_postfix_str(", ".join(filter(None, (self._loss, left))), refresh=False)
        bar.set_description_str(f"job {job.id}: {job.stage or job.status}")


def _text(event: JobEvent) -> str:
    """Put an event into a line; an empty one is not shown."""
    data = event.data
    match event.kind:
        case EventKind.STATUS:
            return " ".join(filter(None, (data["status"], data.get("stage"))))
        case EventKind.LOG:
            return str(data.get("message"))
        case EventKind.SAMPLE:
            return f"{data.get('prompt')} → {data.get('answer')}"
        case EventKind.CHECKPOINT:
            return f"checkpoint of step {data.get('step')} is kept"
        case _:
            return ""
