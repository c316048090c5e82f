"""Jobs in the form that OpenAI's clients parse."""

from __future__ import annotations

import re
import time
from typing import Any

from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.records import ENDED, EventKind, JobEvent, JobRecord, JobState

DEFAULTS = Recipe()
_ORGANIZATION = "npu-stack"
_JOB_ID = re.compile(r"ftjob-(\d{1,9})")
_STATUS = {
    JobState.QUEUED: "queued",
    JobState.INITIALIZING: "running",
    JobState.RUNNING: "running",
    JobState.STOPPING: "running",
    JobState.COMPLETED: "succeeded",
    JobState.FAILED: "failed",
    JobState.STOPPED: "cancelled",
}
_LEVELS = {"warning": "warn", "error": "error"}


def job_number(name: str) -> int | None:
    """Read an id of OpenAI's kind; None if it is none."""
    match = _JOB_ID.fullmatch(name)
    return int(match[1]) if match else None


def job(record: JobRecord) -> dict[str, Any]:
    """Describe a job."""
    ended = record.status in ENDED
    left_s = record.eta_seconds
    hyperparameters = _hyperparameters(record.recipe)
    return {
        "id": f"ftjob-{record.id}",
        "object": "fine_tuning.job",
        "created_at": int(record.created_at),
        "finished_at": int(record.ended_at) if ended and record.ended_at else None,
        "estimated_finish": int(time.time() + left_s) if left_s is not None else None,
        "model": record.model_name,
        "fine_tuned_model": record.resulting_model,
        "organization_id": _ORGANIZATION,
        "status": _STATUS[record.status],
        "error": _error(record),
        "training_file": record.dataset,
        "validation_file": None,
        "result_files": [],
        "trained_tokens": record.trained_tokens if ended else None,
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "integrations": [],
        "seed": record.recipe.seed,
        "metadata": record.metadata or None,
    }


def _hyperparameters(recipe: Recipe) -> dict[str, Any]:
    epochs = float(recipe.epochs)
    return {
        # Passes may be a part of one here, for which there is no number there.
        "n_epochs": int(epochs) if epochs.is_integer() else None,
        "batch_size": recipe.batch_size,
        "learning_rate_multiplier": recipe.learning_rate / DEFAULTS.learning_rate,
    }


def _error(record: JobRecord) -> dict[str, Any] | None:
    if record.status is not JobState.FAILED:
        return None
    return {"code": "job_failed", "message": record.error or "It failed.", "param": None}


def event(told: JobEvent) -> dict[str, Any]:
    """Describe an event."""
    level = "error" if told.data.get("error") else "info"
    if told.kind is EventKind.LOG:
        level = _LEVELS.get(str(told.data.get("level")), "info")
    return {
        "id": f"ftevent-{told.id}",
        "object": "fine_tuning.job.event",
        "created_at": int(told.time),
        "level": level,
        "message": _message(told),
        "type": "metrics" if told.kind is EventKind.METRIC else "message",
        "data": told.data,
    }


def _message(told: JobEvent) -> str:
    data = told.data
    match told.kind:
        case EventKind.STATUS:
            facts = [data["status"], data.get("stage"), data.get("error")]
            return "The job is " + ": ".join(str(fact) for fact in facts if fact)
        case EventKind.METRIC:
            losses = [
                f"{name}={data[key]:.4f}"
                for key, name in (("loss", "training loss"), ("eval_loss", "validation loss"))
                if isinstance(data.get(key), float | int)
            ]
            return f"Step {data.get('step')}: {', '.join(losses)}"
        case EventKind.SAMPLE:
            return f"Step {data.get('step')}: {data.get('prompt')!r} → {data.get('answer')!r}"
        case EventKind.CHECKPOINT:
            return f"Checkpoint of step {data.get('step')} is kept"
        case EventKind.LOG:
            return str(data.get("message"))


def checkpoint(record: JobRecord, told: JobEvent) -> dict[str, Any]:
    """Describe a checkpoint."""
    step = told.data["step"]
    losses = {"train_loss": told.data.get("loss"), "valid_loss": told.data.get("eval_loss")}
    known = {name: value for name, value in losses.items() if value is not None}
    return {
        "id": f"ftckpt-{told.id}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(told.time),
        "fine_tuning_job_id": f"ftjob-{record.id}",
        "fine_tuned_model_checkpoint": f"{record.model_name}:job-{record.id}@step-{step}",
        "step_number": step,
        "metrics": {"step": step} | known,
    }
