"""``python -m fake_trainer``: goes through a job without a model, and misbehaves as told.

What to do comes by the dataset's name, such as ``steps=5 fault=killed``, or by the job's
metadata, such as ``{"steps": "5"}``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from enum import StrEnum

from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.records import ACTIVE, EventKind, JobRecord, JobState
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.trainer_process import trainer_lock
from npu_jupyter.registry.store import Registry

STEP_S = 0.05
FOREVER = 1_000_000


class Fault(StrEnum):
    """What a trainer can do wrong."""

    NONE = "none"
    KILLED_AT_START = "killed_at_start"
    """Is killed before it takes its lock."""
    KILLED = "killed"
    """Is killed at the third step."""
    NO_MEMORY = "no_memory"
    NO_SPACE = "no_space"
    RAISE = "raise"
    TELL = "tell"
    """Says itself that the job has failed."""
    DEAF = "deaf"
    """Does not stop when it is told to."""
    STAY = "stay"
    """Has a child that does not end, and does not end itself when the job is done."""


class FakeTrainer:
    """A run of steps that take no thought."""

    def __init__(self, store: JobStore, folder: JobFolder, job: JobRecord) -> None:
        self._store = store
        self._folder = folder
        self._job = job
        named = dict(part.split("=") for part in job.dataset.split() if "=" in part)
        self._settings = named | job.metadata
        self._fault = Fault(self._settings.get("fault", Fault.NONE))
        self._steps = int(self._settings.get("steps", 3))

    def run(self, *, resume: bool) -> None:
        """Train."""
        if not self._store.move(
            self._job.id, JobState.RUNNING, expected={JobState.INITIALIZING}, stage="training"
        ):
            self._end(JobState.STOPPED)
            return
        self._store.progress(self._job.id, total_steps=self._steps)
        done = (self._folder.last_checkpoint or 0) if resume else 0
        for step in range(done + 1, self._steps + 1):
            if self._store.get(self._job.id).stop_requested and self._fault is not Fault.DEAF:
                self._checkpoint(step - 1)
                self._end(JobState.STOPPED)
                return
            self._step(step)
        self._end(JobState.COMPLETED)

    def _step(self, step: int) -> None:
        time.sleep(float(self._settings.get("step_s", STEP_S)))
        metric = {
            "step": step,
            "epoch": step / self._steps,
            "loss": 1 / step,
            "learning_rate": 1e-4,
        }
        self._store.report(self._job.id, EventKind.METRIC, metric, current_step=step)
        if step == 2:
            self._checkpoint(step)
            self._store.report(
                self._job.id, EventKind.SAMPLE, {"step": step, "prompt": "a", "answer": "b"}
            )
        if step == 3 and self._job.attempts == 1:
            self._fail()

    def _fail(self) -> None:
        match self._fault:
            case Fault.KILLED:
                os.kill(os.getpid(), signal.SIGKILL)
            case Fault.NO_MEMORY:
                raise MemoryError("Unable to allocate 9.31 GiB")
            case Fault.NO_SPACE:
                raise OSError(28, "No space left on device")
            case Fault.RAISE:
                raise RuntimeError("the loss is no number")
            case Fault.TELL:
                error = "The loss became NaN at step 3."
                moved = self._store.move(
                    self._job.id, JobState.FAILED, expected=ACTIVE, error=error
                )
                assert moved
                raise SystemExit(0)
            case Fault.STAY:
                subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def _checkpoint(self, step: int) -> None:
        folder = self._folder.checkpoint(step)
        if not folder.exists():
            folder.mkdir(parents=True)
            self._store.report(self._job.id, EventKind.CHECKPOINT, {"step": step, "eval_loss": 0.5})

    def _end(self, state: JobState) -> None:
        name = self._job.resulting_name if state is JobState.COMPLETED else None
        self._store.move(
            self._job.id,
            state,
            expected={JobState.RUNNING, JobState.STOPPING},
            resulting_model=name,
        )
        while self._fault is Fault.STAY:
            time.sleep(1)


def main() -> None:
    """Do what the line on standard input says."""
    line = json.loads(sys.stdin.readline())
    store = JobStore(Registry(data_dir=line["data_dir"], db_url=line["db_url"]))
    job = store.get(line["job_id"])
    if Fault.KILLED_AT_START in job.dataset and job.attempts == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    folder = JobFolder(Registry(data_dir=line["data_dir"]).root, job.id)
    with trainer_lock(folder):
        FakeTrainer(store, folder, job).run(resume=line["resume"])


if __name__ == "__main__":
    main()
