"""How far a job is, as a bar, while a cell waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from npu_jupyter.client.bar import BarState, bar
from npu_jupyter.client.jobs import JobFacts

JobProgress = Callable[[JobFacts], None]

POLL_S = 1.0


@contextmanager
def job_progress(job_id: int, told: JobProgress | None) -> Iterator[JobProgress]:
    """Give what takes a job's facts: `told`, or a bar."""
    if told is not None:
        yield told
        return
    line = bar(f"job {job_id}", None, unit="step")
    last: JobFacts | None = None

    def show(facts: JobFacts) -> None:
        nonlocal last
        last = facts
        line.total, line.n = facts.total_steps or None, facts.current_step
        line.note = _note(facts)
        line.refresh()

    try:
        yield show
    except BaseException:
        line.end(BarState.STOPPED, "The job goes on; job.wait() waits again, job.stop() ends it.")
        raise
    line.end(BarState.DONE, _note(last) if last else "")


def _note(facts: JobFacts) -> str:
    losses = [metric["loss"] for metric in facts.metrics if metric.get("loss") is not None]
    told = [facts.status if facts.over else facts.stage or facts.status]
    if losses:
        told.append(f"loss {losses[-1]:.3f}")
    if facts.resulting_model:
        told.append(f"served as {facts.resulting_model}")
    if facts.error:
        told.append(facts.error)
    return " · ".join(told)
