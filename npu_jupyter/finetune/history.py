"""The history of jobs in the database, and their rows as the records that we hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from npu_jupyter.errors import NotFound
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.records import EventKind, JobEvent, JobRecord, JobState
from npu_jupyter.registry.data_directory import DataDirectory

# As in the registry: sqlalchemy is not imported before somebody asks for a job.
if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.orm import Session

    from npu_jupyter.registry.tables import Job


class JobHistory:
    """What happened to the jobs of a data directory, event by event."""

    def __init__(self, data: DataDirectory) -> None:
        """Keep it in the database of `data`."""
        self._data = data

    def report(self, job_id: int, kind: EventKind, data: dict[str, Any], **values: Any) -> None:
        """Add to a job's history, and set facts as `progress` does, both or neither."""
        from sqlalchemy import update

        from npu_jupyter.registry.tables import Job, JobEvent

        with self._data.session() as session, session.begin():
            session.add(JobEvent(job_id=job_id, time=time.time(), kind=kind, data=data))
            if values:
                session.execute(update(Job).where(Job.id == job_id).values(values))

    def events(
        self,
        job_id: int,
        after: int = 0,
        kinds: Collection[EventKind] | None = None,
        limit: int | None = None,
    ) -> list[JobEvent]:
        """Give a job's history after the event `after`, the oldest first, `limit` at most."""
        from sqlalchemy import select

        from npu_jupyter.registry import tables

        query = (
            select(tables.JobEvent)
            .where(tables.JobEvent.job_id == job_id, tables.JobEvent.id > after)
            .order_by(tables.JobEvent.id)
        )
        if kinds is not None:
            query = query.where(tables.JobEvent.kind.in_(kinds))
        if limit is not None:
            query = query.limit(limit)
        with self._data.session() as session:
            return [
                JobEvent(row.id, row.job_id, row.time, EventKind(row.kind), row.data)
                for row in session.scalars(query)
            ]

    def newest_event(self, job_id: int) -> int:
        """Give the id of the last event of a job: cheap, to see whether there is something new.

        Raises:
            NotFound: the job is gone.
        """
        from sqlalchemy import func, select

        from npu_jupyter.registry.tables import JobEvent

        query = select(func.max(JobEvent.id)).where(JobEvent.job_id == job_id)
        with self._data.session() as session:
            newest = session.scalar(query)
        if newest is None:
            raise not_found(job_id)
        return newest


def note(session: Session, row: Job, kind: EventKind, data: dict[str, Any]) -> None:
    """Add to a job's history, within a transaction."""
    from npu_jupyter.registry.tables import JobEvent

    session.add(JobEvent(job_id=row.id, time=time.time(), kind=kind, data=data))


def not_found(job_id: int) -> NotFound:
    """Say that there is no such job, or none of this caller's."""
    return NotFound(f"There is no job {job_id}. List yours with GET /api/finetune/jobs.")


def record_of(row: Job) -> JobRecord:
    """Make a record of a row."""
    return JobRecord(
        id=row.id,
        owner=row.owner,
        model_id=row.model_id,
        model_name=row.model_name,
        dataset=row.dataset,
        dataset_sha256=row.dataset_sha256,
        rows=row.rows,
        recipe=msgspec.convert(row.recipe, Recipe),
        resulting_name=row.resulting_name,
        resumed_from=row.resumed_from,
        metadata=row.details,
        status=JobState(row.status),
        stage=row.stage,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        current_step=row.current_step,
        total_steps=row.total_steps,
        current_epoch=row.current_epoch,
        eta_seconds=row.eta_seconds,
        trained_tokens=row.trained_tokens,
        error=row.error,
        stop_requested=row.stop_requested,
        attempts=row.attempts,
        estimate=row.estimate,
        parity=row.parity,
        resulting_model=row.resulting_model,
    )
