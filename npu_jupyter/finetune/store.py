"""Jobs in the database: what a server and a trainer know of each other.

The trainer writes here itself, so that a job's progress is kept whether or not a server runs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from npu_jupyter.errors import Conflict
from npu_jupyter.finetune.history import JobHistory, not_found, note, record_of
from npu_jupyter.finetune.records import (
    ACTIVE,
    ENDED,
    RESUMABLE,
    TRANSITIONS,
    EventKind,
    JobRecord,
    JobState,
    NewJob,
)

# As in the registry: sqlalchemy is not imported before somebody asks for a job.
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy.orm import Session

    from npu_jupyter.registry.tables import Job

_PROGRESS_FIELDS = frozenset(
    {
        "stage",
        "current_step",
        "total_steps",
        "current_epoch",
        "eta_seconds",
        "trained_tokens",
        "estimate",
        "parity",
    }
)


class JobStore(JobHistory):
    """The jobs of a data directory. Every method blocks and may be called from any thread."""

    def add(
        self, job: NewJob, prepare: Callable[[int], None] = lambda _job_id: None
    ) -> tuple[JobRecord, bool]:
        """Queue a job; give it and whether it is new.

        The same idempotency key of the same owner gives the job that is there. `prepare` puts
        the files of a new one in place before anybody else sees it; if it fails there is no job.

        Raises:
            Conflict: another job that is not over makes a model of the same name.
        """
        from sqlalchemy.exc import IntegrityError

        from npu_jupyter.registry.tables import Job

        row = Job(
            owner=job.owner,
            idempotency_key=job.idempotency_key,
            model_id=job.model_id,
            model_name=job.model_name,
            dataset=job.dataset,
            dataset_sha256=job.dataset_sha256,
            rows=job.rows,
            recipe=msgspec.to_builtins(job.recipe),
            resulting_name=job.resulting_name,
            resumed_from=job.resumed_from,
            details=job.metadata,
            status=JobState.QUEUED,
            created_at=time.time(),
        )
        try:
            with self._data.session() as session, session.begin():
                session.add(row)
                session.flush()
                self._check_name(session, row)
                note(session, row, EventKind.STATUS, {"status": JobState.QUEUED})
                prepare(row.id)
                return record_of(row), True
        except IntegrityError:
            known = self.known(job.owner, job.idempotency_key)
            if known is None:
                raise
            return known, False

    @staticmethod
    def _check_name(session: Session, row: Job) -> None:
        from sqlalchemy import select

        from npu_jupyter.registry.tables import Job

        same = select(Job.id).where(
            Job.resulting_name == row.resulting_name, Job.id != row.id, Job.status.not_in(ENDED)
        )
        other = session.scalars(same).first()
        if other is not None:
            raise Conflict(
                f"Job {other} makes {row.resulting_name} already. Choose another suffix.",
                param="suffix",
            )

    def known(self, owner: str, idempotency_key: str | None) -> JobRecord | None:
        """Return the job that an owner has started with a key, if there is one."""
        from sqlalchemy import select

        from npu_jupyter.registry.tables import Job

        if idempotency_key is None:
            return None
        query = select(Job).where(Job.owner == owner, Job.idempotency_key == idempotency_key)
        with self._data.session() as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else record_of(row)

    def get(self, job_id: int, owner: str | None = None) -> JobRecord:
        """Return a job, or only if it is `owner`'s; raise `NotFound`."""
        with self._data.session() as session:
            row = self._row(session, job_id)
            if owner is not None and row.owner != owner:
                raise not_found(job_id)  # another's job is not to be told from none
            return record_of(row)

    def find(self, job_id: int) -> JobRecord | None:
        """Return a job, or None."""
        from npu_jupyter.registry.tables import Job

        with self._data.session() as session:
            row = session.get(Job, job_id)
            return None if row is None else record_of(row)

    def jobs(
        self, owner: str | None = None, states: Collection[JobState] | None = None
    ) -> list[JobRecord]:
        """List all jobs, one owner's, or those in some states; the oldest first."""
        from sqlalchemy import select

        from npu_jupyter.registry.tables import Job

        query = select(Job).order_by(Job.id)
        if owner is not None:
            query = query.where(Job.owner == owner)
        if states is not None:
            query = query.where(Job.status.in_(states))
        with self._data.session() as session:
            return [record_of(row) for row in session.scalars(query)]

    def move(
        self,
        job_id: int,
        to: JobState,
        *,
        expected: Collection[JobState],
        stage: str = "",
        error: str | None = None,
        resulting_model: str | None = None,
    ) -> bool:
        """Change a job's state if it is in one of `expected`; False when it is not.

        Raises:
            ValueError: when no job may ever go that way.
        """
        from sqlalchemy import update

        from npu_jupyter.registry.tables import Job

        if wrong := [state for state in expected if to not in TRANSITIONS[state]]:
            raise ValueError(f"A job cannot go from {', '.join(wrong)} to {to}.")
        values: dict[str, Any] = {"status": to, "stage": stage, "error": error}
        if to is JobState.INITIALIZING:
            values |= _begun()
        if to is JobState.STOPPING:
            values["stop_requested"] = True
        if to is JobState.QUEUED:
            values |= {"stop_requested": False, "ended_at": None, "eta_seconds": None}
        if to in ENDED:
            values |= {"ended_at": time.time(), "eta_seconds": None}
        if resulting_model is not None:
            values["resulting_model"] = resulting_model
        guarded = update(Job).where(Job.id == job_id, Job.status.in_(expected)).values(values)
        with self._data.session() as session, session.begin():
            if not session.execute(guarded).rowcount:  # type: ignore[attr-defined]
                return False
            row = self._row(session, job_id)
            told = {"status": to, "stage": stage, "error": error}
            note(session, row, EventKind.STATUS, told)
        return True

    def progress(self, job_id: int, **values: Any) -> None:
        """Set facts of a running job: stage, steps, epoch, ETA, tokens, estimate, parity."""
        from sqlalchemy import update

        from npu_jupyter.registry.tables import Job

        unknown = values.keys() - _PROGRESS_FIELDS
        assert not unknown, unknown
        with self._data.session() as session, session.begin():
            session.execute(update(Job).where(Job.id == job_id).values(values))
            if "stage" in values:
                row = self._row(session, job_id)
                told = {"status": row.status, "stage": row.stage}
                note(session, row, EventKind.STATUS, told)

    def request_stop(self, job_id: int) -> JobRecord:
        """Ask a job to end at its next step; one that waits ends at once.

        Raises:
            Conflict: when it has ended already.
        """
        while True:  # it may move on between the look and the change
            job = self.get(job_id)
            if job.status is JobState.STOPPING:
                return job
            if job.status in ENDED:
                raise Conflict(f"Job {job_id} is {job.status}; there is nothing to stop.")
            to = JobState.STOPPED if job.status is JobState.QUEUED else JobState.STOPPING
            if self.move(job_id, to, expected={job.status}, stage=job.stage):
                return self.get(job_id)

    def request_resume(self, job_id: int) -> JobRecord:
        """Queue a job again that failed or was stopped; it goes on from its last checkpoint.

        Raises:
            Conflict: when it is not over, or is complete.
        """
        if not self.move(job_id, JobState.QUEUED, expected=RESUMABLE):
            job = self.get(job_id)
            raise Conflict(
                f"Job {job_id} is {job.status}; only a failed or stopped job can be resumed."
            )
        return self.get(job_id)

    def pick(self, max_running: int) -> JobRecord | None:
        """Take the job that has waited longest, if fewer than `max_running` have a trainer.

        One statement, so that of all servers on the data directory one gets it.
        """
        from sqlalchemy import func, select, update

        from npu_jupyter.registry.tables import Job

        running = select(func.count()).select_from(Job).where(Job.status.in_(ACTIVE))
        oldest = select(func.min(Job.id)).where(Job.status == JobState.QUEUED)
        guarded = (
            update(Job)
            .where(
                Job.id == oldest.scalar_subquery(),
                Job.status == JobState.QUEUED,
                running.scalar_subquery() < max_running,
            )
            .values(_begun() | {"status": JobState.INITIALIZING, "stage": "starting"})
            .returning(Job.id)
            .execution_options(synchronize_session=False)
        )
        with self._data.session() as session, session.begin():
            job_id = session.scalar(guarded)
            if job_id is None:
                return None
            row = self._row(session, job_id)
            told = {"status": row.status, "stage": row.stage, "error": None}
            note(session, row, EventKind.STATUS, told)
            return record_of(row)

    def delete(self, job_id: int) -> None:
        """Forget a job that has ended, with its history.

        Raises:
            Conflict: when it has not ended.
        """
        from sqlalchemy import delete

        from npu_jupyter.registry.tables import Job

        guarded = delete(Job).where(Job.id == job_id, Job.status.in_(ENDED))
        with self._data.session() as session, session.begin():
            if session.execute(guarded).rowcount:  # type: ignore[attr-defined]
                return
        job = self.get(job_id)
        raise Conflict(f"Job {job_id} is {job.status}. Stop it first, then delete it.")

    def _row(self, session: Session, job_id: int) -> Job:
        from npu_jupyter.registry.tables import Job

        row = session.get(Job, job_id)
        if row is None:
            raise not_found(job_id)
        return row


def _begun() -> dict[str, Any]:
    """Give what changes when a trainer gets a job."""
    from npu_jupyter.registry.tables import Job

    begun = {"started_at": time.time(), "ended_at": None, "error": None}
    return begun | {"attempts": Job.attempts + 1}
