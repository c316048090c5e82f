"""Where the files of a job lie: ``<data_dir>/jobs/<id>``."""

from __future__ import annotations

import contextlib
import time
import uuid
from pathlib import Path

_STALE_S = 24 * 3600.0


class JobFolder:
    """The paths of one job's files."""

    def __init__(self, data_dir: Path, job_id: int) -> None:
        """Name them; nothing is made."""
        self.job_id = job_id
        self.path = data_dir / "jobs" / str(job_id)
        self.lock = self.path / "trainer.lock"
        """Held by the job's trainer as long as it lives."""
        self.process = self.path / "trainer.json"
        """Which process the job's trainer is, kept as long as it may run."""
        self.rows = self.path / "rows.jsonl"
        """The dataset in normal form, as it was when the job was started."""
        self.log = self.path / "trainer.log"
        """Output of the trainer's process; its last words when it died."""
        self.checkpoints = self.path / "checkpoints"
        self.adapter = self.path / "adapter"
        """What was trained, in PEFT's own form, before it is published."""
        self.whole = self.path / "whole"
        """What was trained, in Hugging Face form, where all of the model was."""

    def checkpoint(self, step: int) -> Path:
        """Name the folder of the checkpoint after `step` optimizer steps."""
        return self.checkpoints / f"step-{step}"

    @property
    def last_checkpoint(self) -> int | None:
        """The step of the newest checkpoint; None when there is none."""
        names = (path.name for path in self.checkpoints.glob("step-*"))
        return max((int(name[5:]) for name in names if name[5:].isdigit()), default=None)


def incoming_rows(data_dir: Path) -> Path:
    """Name a file for the rows of a job that has no number yet."""
    folder = data_dir / "jobs" / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{uuid.uuid4().hex}.jsonl"


def sweep_incoming(data_dir: Path) -> None:
    """Remove rows that a server has left which was killed while it checked them."""
    for path in (data_dir / "jobs" / "incoming").glob("*"):
        with contextlib.suppress(OSError):  # another server sweeps too
            if time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink()


def job_folders(data_dir: Path) -> list[JobFolder]:
    """List the folders of jobs below `data_dir`."""
    names = (path.name for path in (data_dir / "jobs").glob("*"))
    return [JobFolder(data_dir, int(name)) for name in names if name.isdigit()]
