"""A job from its beginning to its end, stage by stage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from transformers.utils import logging as transformers_logging

from npu_jupyter.errors import InvalidRequest
from npu_jupyter.finetune.base import Base, prepare_base
from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.records import EventKind, JobRecord, JobState
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.trainer.assignment import Assignment
from npu_jupyter.finetune.trainer.checkpoints import Checkpoints, Manifest
from npu_jupyter.finetune.trainer.faults import Faults
from npu_jupyter.finetune.trainer.finishing import Finish
from npu_jupyter.finetune.trainer.pause import BUSY_FILE, Pause
from npu_jupyter.finetune.trainer.preparing import Prepared, prepare
from npu_jupyter.finetune.trainer.progress import Progress
from npu_jupyter.finetune.trainer.training import JobTrainer
from npu_jupyter.registry.disk import ensure_space
from npu_jupyter.registry.records import PullProgress
from npu_jupyter.registry.store import Registry

_MAY_CHANGE = frozenset(
    {
        "epochs",
        "max_steps",
        "packing",
        "eval_steps",
        "early_stopping_patience",
        "save_steps",
        "sample_prompts",
        "sample_steps",
        "report_to",
        "export_precision",
    }
)
"""Settings that may be others than those with which a checkpoint was made."""


class Run:
    """One attempt at a job."""

    def __init__(
        self,
        registry: Registry,
        store: JobStore,
        folder: JobFolder,
        job: JobRecord,
        assignment: Assignment,
    ) -> None:
        """Take `job`, whose files lie in `folder`."""
        self._registry = registry
        self._store = store
        self._folder = folder
        self._job = job
        self._resume = assignment.resume
        self._faults = Faults(assignment.faults)
        self._checkpoints = Checkpoints(folder.checkpoints)

    def run(self) -> None:
        """Go through all stages, or as far as the job is not told to stop."""
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._faults.reach("start")
        record = self._registry.get(self._job.model_id)
        self._stage("preparing the base")
        base = prepare_base(self._registry, record, self._tell_conversion)
        if self._stop_if_told():
            return
        self._stage("measuring")
        start = self._find_start()
        prepared = prepare(
            base.hugging_face,
            self._folder.rows,
            self._job.recipe,
            context_length=record.context_length,
        )
        self._tell(prepared)
        if not self._move(JobState.RUNNING, {JobState.INITIALIZING}, stage="training"):
            self._stop_if_told()
            return
        trainer, stopped = self._train(prepared, start)
        if stopped:
            self._stop_if_told()
            return
        self._finish(trainer, prepared, base)

    # Stages

    def _find_start(self) -> Path | None:
        """Find the checkpoint to go on from; None is the beginning.

        Raises:
            InvalidRequest: when it was made of other rows or with other settings.
        """
        if not self._resume:
            self._checkpoints.clear()
            return None
        found = self._checkpoints.newest()
        place = self._checkpoints
        if found is None and self._job.resumed_from is not None:
            place = Checkpoints(JobFolder(self._registry.root, self._job.resumed_from).checkpoints)
            found = place.newest()
        if found is None:
            self._log("No whole checkpoint is there to go on from: training begins anew.")
            return None
        if found.dataset_sha256 != self._job.dataset_sha256:
            raise InvalidRequest(
                "The dataset is not the one of the checkpoint; start a new job with it.",
                param="dataset",
            )
        # As the manifest has it: JSON knows no tuples.
        ours = msgspec.json.decode(msgspec.json.encode(self._job.recipe))
        changed = [
            f"{name} ({found.recipe[name]!r} then, {value!r} now)"
            for name, value in ours.items()
            if name not in _MAY_CHANGE and found.recipe.get(name, value) != value
        ]
        if changed:
            raise InvalidRequest(
                "A job goes on from a checkpoint with the settings that made it. Others now: "
                f"{', '.join(changed)}. Start a new job with them.",
                param="resume_from",
            )
        self._log(f"Going on from the checkpoint of step {found.step}.")
        return place.path(found.step)

    def _train(self, prepared: Prepared, start: Path | None) -> tuple[JobTrainer, bool]:
        """Train; tell whether the job was told to stop meanwhile."""
        progress = Progress(self._store, self._job.id, self._job.recipe, prepared)
        pause = Pause(self._folder.path.parent / BUSY_FILE, progress.stop_requested)
        reports = self._folder.path / "reports"
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(reports)
        try:
            trainer = JobTrainer(
                prepared,
                self._job.recipe,
                checkpoints=self._checkpoints,
                manifest=self._manifest(),
                pause=pause.wait,
                faults=self._faults,
                callbacks=[progress],
            )
        except (ImportError, RuntimeError, ValueError) as error:
            if not self._job.recipe.report_to:
                raise
            raise InvalidRequest(
                f"Reporting to {', '.join(self._job.recipe.report_to)} is not possible here: "
                f"{error}",
                param="report_to",
            ) from error
        trainer.run(start)
        return trainer, progress.stopped

    def _finish(self, trainer: JobTrainer, prepared: Prepared, base: Base) -> None:
        """Check and publish what was trained."""
        recipe = self._job.recipe
        best = trainer.state.best_global_step
        step = trainer.state.global_step
        if recipe.early_stopping_patience and best:
            step = best
            trainer.restore_weights(best)
        finish = Finish(
            self._registry,
            self._store,
            self._folder,
            self._job,
            base=base,
            prepared=prepared,
            checkpoint=self._checkpoints.path(step),
            faults=self._faults,
        )
        finish.run()

    # What the database is told

    def _manifest(self) -> Manifest:
        recipe = msgspec.to_builtins(self._job.recipe)
        return Manifest(step=0, recipe=recipe, dataset_sha256=self._job.dataset_sha256)

    def _tell(self, prepared: Prepared) -> None:
        """Store the estimate.

        Raises:
            InsufficientDisk: when there is no room for the checkpoints.
        """
        estimate, data = prepared.estimate, prepared.data
        self._store.progress(
            self._job.id,
            estimate=estimate.to_dict(),
            total_steps=prepared.total_steps,
            eta_seconds=estimate.seconds,
        )
        ensure_space(self._folder.path, estimate.disk_bytes, "Keeping the job's checkpoints")
        self._log(
            f"Training on {prepared.compute.device} in {prepared.compute.precision}: "
            f"{len(data.learned)} examples, {len(data.held_out)} held out, "
            f"{prepared.total_steps} steps, about {estimate.seconds:.0f} s."
        )
        if estimate.gradient_checkpointing:
            self._log("Memory is short: activations are computed twice (gradient checkpointing).")
        if self._job.recipe.packing and not prepared.layout.packing:
            self._log("This architecture does not keep packed examples apart: it trains unpacked.")

    def _tell_conversion(self, progress: PullProgress) -> None:
        self._stage(progress.message or "preparing the base")

    def _stage(self, stage: str) -> None:
        self._store.progress(self._job.id, stage=stage)

    def _log(self, message: str) -> None:
        self._store.report(self._job.id, EventKind.LOG, {"level": "info", "message": message})

    def _stop_if_told(self) -> bool:
        if not self._store.get(self._job.id).stop_requested:
            return False
        self._move(JobState.STOPPED, {JobState.STOPPING})
        return True

    def _move(self, to: JobState, expected: set[JobState], **facts: Any) -> bool:
        return self._store.move(self._job.id, to, expected=expected, **facts)
