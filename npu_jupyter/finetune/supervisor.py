"""Begins jobs, watches their trainers, and tells the truth about those that were lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from traitlets import Bool, Float, Int, Unicode
from traitlets.config import LoggingConfigurable

from npu_jupyter.errors import NpuError
from npu_jupyter.finetune.death import explain
from npu_jupyter.finetune.folder import JobFolder, job_folders, sweep_incoming
from npu_jupyter.finetune.records import ACTIVE, CHECKING, ENDED, EventKind, JobRecord, JobState
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.trainer_process import TrainerProcess, has_trainer
from npu_jupyter.registry.data_directory import DataDirectory

_LOOK_INTERVAL_S = 0.5
"""Between two looks while there are jobs to watch."""
_IDLE_INTERVAL_S = 2.0
_START_GRACE_S = 3.0
"""What another server gets between taking a job and starting its trainer."""
_EXIT_GRACE_S = 30.0
"""What a trainer gets to end after it has said how its job ended."""
_MAX_ATTEMPTS = 5
"""A job that has lost so many trainers is not resumed by itself again."""
_BUSY_FOR_S = 2.0
_BUSY_INTERVAL_S = 1.0
_BUSY_LOOK_S = 0.25


class Supervisor(LoggingConfigurable):
    """Runs the queue of fine-tuning jobs of a data directory.

    Several servers may do so at once: each job runs once. A trainer does not need the server
    that started it: the next one finds it, or finds what became of it.
    """

    max_running_jobs = Int(
        1,
        min=0,
        help="Jobs that train at once, of all servers on the data directory. Default: 1. "
        "0 begins none.",
    ).tag(config=True)
    max_queued_jobs_per_owner = Int(
        20,
        min=0,
        help="Jobs of one user that may wait; his next gets 429. Default: 20. 0 is no limit.",
    ).tag(config=True)
    resume_automatically = Bool(
        False,
        help="Queue a job again whose trainer was lost: it goes on from its last checkpoint. "
        f"After {_MAX_ATTEMPTS} trainers it fails. Default: False, it fails and can be resumed.",
    ).tag(config=True)
    stop_grace_s = Float(
        120,
        min=0,
        help="Seconds that a trainer gets to stop at a step and keep a checkpoint, before it is "
        "ended. Default: 120. 0 ends it at once.",
    ).tag(config=True)
    trainer_nice = Int(
        10,
        min=0,
        max=19,
        help="How far a trainer steps back behind other processes, from 0 to 19; any value "
        "above 0 is the priority 'below normal' on Windows. Default: 10. 0 does not.",
    ).tag(config=True)
    pause_while_serving = Bool(
        False,
        help="Whether trainers pause while requests run or wait in the engine. Default: False, "
        "they go on at low priority.",
    ).tag(config=True)
    trainer_module = Unicode(
        "npu_jupyter.finetune.trainer",
        help="Python module that runs as the trainer process of each job.",
    ).tag(config=True)

    def __init__(
        self,
        data: DataDirectory,
        store: JobStore,
        serving: Callable[[], bool],
        make_ready: Callable[[str], Awaitable[None]] | None = None,
        **kwargs: Any,
    ) -> None:
        """Supervise the jobs of `store`.

        `serving` says whether the engine has requests. `make_ready` has it load what will serve
        an adapter of the base that it is told, so that a job's result answers at its end.
        """
        super().__init__(**kwargs)
        self._make_ready = make_ready
        self._made_ready: set[int] = set()
        self._data = data
        self._store = store
        self._serving = serving
        self._looking = threading.Lock()
        self._children: dict[int, TrainerProcess] = {}
        """Trainers that were started here, by job: only their parent learns how they end."""
        self._stopping_since: dict[int, float] = {}
        self._told = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._waking = asyncio.Event()
        self.busy = False
        """Whether a job runs or waits."""

    # In a server

    def start(self) -> None:
        """Begin to look after jobs, in the background."""
        self._loop = asyncio.get_running_loop()
        self._tasks.append(asyncio.create_task(self._watch()))
        if self.pause_while_serving:
            self._tasks.append(asyncio.create_task(self._tell_when_serving()))

    async def close(self) -> None:
        """Leave the trainers to themselves."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def wake(self) -> None:
        """Look soon: something has changed."""
        self._waking.set()

    async def attempt(self) -> None:
        """Look now; what keeps us from it is logged, and the next look may be luckier."""
        try:
            await asyncio.to_thread(self.look)
        except Exception as error:  # noqa: BLE001 - jobs go on meanwhile
            self._log_once(error)
        else:
            self._told = ""

    async def _watch(self) -> None:
        await asyncio.to_thread(sweep_incoming, self._data.root)
        while True:
            await self.attempt()
            with suppress(TimeoutError):
                interval_s = _LOOK_INTERVAL_S if self.busy else _IDLE_INTERVAL_S
                await asyncio.wait_for(self._waking.wait(), interval_s)
            self._waking.clear()

    def _log_once(self, error: Exception) -> None:
        """Log what keeps us from the jobs, not twice a second."""
        if str(error) != self._told:
            self._told = str(error)
            unforeseen = not isinstance(error, NpuError)
            self.log.error("Jobs cannot be looked after: %s", error, exc_info=unforeseen)

    def remove(self, job_id: int) -> None:
        """Forget a job that has ended, and delete its files; the model that it made stays.

        Raises:
            Conflict: when it has not ended.
        """
        folder = JobFolder(self._data.root, job_id)
        with self._looking:
            self._store.delete(job_id)
            if trainer := self._trainer(folder):
                self._part(trainer)
            shutil.rmtree(folder.path, ignore_errors=True)

    # One look

    def look(self) -> None:
        """Look once after all jobs: tell of the lost, end what will not stop, begin the next.

        Blocks; any thread may call.

        Raises:
            NpuError: when the database cannot be used; nothing is lost by it.
        """
        with self._looking:
            if not (self._data.root / "jobs").is_dir():
                self.busy = False
                return
            self._bury()
            for job in self._store.jobs(states=ACTIVE):
                self._look_after(job)
            while taken := self._store.pick(self.max_running_jobs):
                self._begin(taken)
            self.busy = bool(self._store.jobs(states=ACTIVE | {JobState.QUEUED}))

    def _bury(self) -> None:
        """See that the trainers of jobs that have ended end too."""
        for folder in job_folders(self._data.root):
            trainer = self._trainer(folder)
            if trainer is None:
                continue
            job = self._store.find(folder.job_id)
            if job is not None and job.status not in ENDED:
                continue
            ended_at = job.ended_at if job and job.ended_at else 0.0
            if not trainer.alive or time.time() - ended_at > _EXIT_GRACE_S:
                self._part(trainer)

    def _part(self, trainer: TrainerProcess) -> None:
        """End what is left of a trainer, and forget it."""
        trainer.end()
        trainer.forget()
        self._children.pop(trainer.folder.job_id, None)
        self._stopping_since.pop(trainer.folder.job_id, None)

    def _trainer(self, folder: JobFolder) -> TrainerProcess | None:
        """Find the trainer that was started last, here or by another server."""
        found = TrainerProcess.found(folder)
        child = self._children.get(folder.job_id)
        return child if child and (found is None or found.attempt == child.attempt) else found

    def _begin(self, job: JobRecord) -> None:
        """Start the trainer of a job that was just taken from the queue."""
        folder = JobFolder(self._data.root, job.id)
        if previous := self._trainer(folder):
            self._part(previous)  # its job had ended, and it had not yet
        first_line = {
            "data_dir": str(self._data.root),
            "db_url": self._data.db_url,
            "job_id": job.id,
            "resume": job.attempts > 1 or job.resumed_from is not None,
        }
        try:
            self._children[job.id] = TrainerProcess.start(
                folder,
                job.attempts,
                module=self.trainer_module,
                first_line=first_line,
                nice=self.trainer_nice,
            )
        except OSError as error:
            reason = f"Its trainer could not be started: {os.strerror(error.errno or 0)}."
            self._store.move(job.id, JobState.FAILED, expected={job.status}, error=reason)
        else:
            self.log.info("Job %s: attempt %s begins", job.id, job.attempts)

    def _look_after(self, job: JobRecord) -> None:
        folder = JobFolder(self._data.root, job.id)
        trainer = self._trainer(folder)
        if trainer is not None and trainer.attempt != job.attempts:
            trainer = None  # another server has just begun the next attempt
        if trainer is not None and trainer.alive:
            if job.status is JobState.STOPPING:
                self._press(job, trainer)
            elif job.stage == CHECKING and job.id not in self._made_ready:
                self._made_ready.add(job.id)
                self._ready(job)
            return
        fresh = time.time() - (job.started_at or 0.0) < _START_GRACE_S
        if (trainer is None and fresh) or has_trainer(folder):
            return
        self._lost(job, trainer)

    def _ready(self, job: JobRecord) -> None:
        """Have the engine get ready for the job's result, from whichever thread this is."""
        if self._make_ready is None or self._loop is None:
            return
        work = self._attempt(self._make_ready(job.model_name))
        asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _attempt(self, work: Awaitable[None]) -> None:
        try:
            await work
        except NpuError as error:  # the first request for the result will try again, and be told
            self.log.info("The engine is not ready for the result yet: %s", error)

    def _press(self, job: JobRecord, trainer: TrainerProcess) -> None:
        """End a trainer that was told to stop and has had time for it."""
        since = self._stopping_since.setdefault(job.id, time.monotonic())
        if time.monotonic() - since < self.stop_grace_s:
            return
        self.log.warning("Job %s did not stop in %g s; ending it", job.id, self.stop_grace_s)
        trainer.end()
        self._lost(job, trainer)

    def _lost(self, job: JobRecord, trainer: TrainerProcess | None) -> None:
        """Say what became of a job that has no trainer any more."""
        job = self._store.get(job.id)
        if job.status not in ACTIVE:
            return  # its trainer told how it ended, after the job was looked up
        if trainer is None:
            reason = "The server ended before it could start the job's trainer."
        else:
            reason = explain(trainer.exit_code, trainer.last_words())
            self._part(trainer)
        may_resume = trainer is None or self.resume_automatically
        if job.status is JobState.STOPPING:
            note = f"It was told to stop. {reason}{self._kept(job)}"
            self._move(job, JobState.STOPPED, note)
        elif may_resume and job.attempts < _MAX_ATTEMPTS:
            told = {"level": "warning", "message": f"{reason} It goes on by itself."}
            self._store.report(job.id, EventKind.LOG, told)
            self._move(job, JobState.QUEUED)
        else:
            self._move(job, JobState.FAILED, reason + self._kept(job))

    def _move(self, job: JobRecord, to: JobState, error: str | None = None) -> None:
        if self._store.move(job.id, to, expected={job.status}, error=error):
            self.log.info("Job %s is %s. %s", job.id, to, error or "")

    def _kept(self, job: JobRecord) -> str:
        step = JobFolder(self._data.root, job.id).last_checkpoint
        return "" if step is None else f" Its checkpoint of step {step} is kept: resume the job."

    # Neighbours

    async def _tell_when_serving(self) -> None:
        """Let trainers know that requests run or wait.

        They read a time that passes by itself, so that a server that dies pauses nobody.
        """
        path = self._data.root / "jobs" / "inference.busy"
        aside = path.with_name(f"inference.{os.getpid()}.tmp")
        while True:
            await asyncio.sleep(_BUSY_LOOK_S)
            if not (self.busy and self._serving()):
                continue
            with suppress(OSError):  # then trainers do not pause
                aside.write_text(str(time.time() + _BUSY_FOR_S), encoding="utf-8")
                aside.replace(path)
            await asyncio.sleep(_BUSY_INTERVAL_S - _BUSY_LOOK_S)
