"""What a trainer is told by whoever starts it: one line of JSON on stdin."""

from __future__ import annotations

import msgspec


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The job to train and where it is kept."""

    data_dir: str
    db_url: str = ""
    job_id: int
    resume: bool = False
    """Go on from the job's own newest checkpoint."""
    faults: dict[str, str] = {}
    """For tests alone; see `npu_jupyter.finetune.trainer.faults`."""
