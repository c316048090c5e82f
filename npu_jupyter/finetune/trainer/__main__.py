"""``python -m npu_jupyter.finetune.trainer``: train one job, whether or not a server runs."""

from __future__ import annotations

import os
import sys
import traceback

import msgspec

from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.records import ACTIVE, JobState
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.trainer.assignment import Assignment
from npu_jupyter.finetune.trainer_process import trainer_lock
from npu_jupyter.registry.store import Registry

_UNTOLD = 1
"""Exit code when the database could not be told how the job ended."""


def main() -> int:
    """Do what the line on stdin says; return the exit code."""
    line = sys.stdin.buffer.readline()
    sys.stdin.close()
    assignment = msgspec.json.decode(line, type=Assignment)
    # All that is needed lies here: training must neither wait for a hub nor tell it.
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    registry = Registry(data_dir=assignment.data_dir, db_url=assignment.db_url)
    folder = JobFolder(registry.root, assignment.job_id)
    with trainer_lock(folder):
        return _run(assignment, registry, folder)


def _run(assignment: Assignment, registry: Registry, folder: JobFolder) -> int:
    store = JobStore(registry)
    recipe = None
    try:
        job = store.get(assignment.job_id)
        recipe = job.recipe
        if job.status not in ACTIVE:
            return 0  # it was told to end before this process could begin
        from npu_jupyter.finetune.trainer.running import Run

        Run(registry, store, folder, job, assignment).run()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the job says that it has failed
        traceback.print_exc()
        from npu_jupyter.finetune.trainer.failures import in_words

        told = in_words(error, recipe, folder.path)
        print(told.message, file=sys.stderr)  # noqa: T201 - the server reads these last words
        try:
            store.move(assignment.job_id, JobState.FAILED, expected=ACTIVE, error=told.message)
        except Exception:  # noqa: BLE001 - the disk that is full is the database's too
            return _UNTOLD
    return 0


if __name__ == "__main__":
    sys.exit(main())
