"""What is known of a fine-tuning job, as plain values that any thread may hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from npu_jupyter.finetune.recipe import Recipe


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    INITIALIZING = "initializing"
    """A trainer has it and prepares: loads, measures."""
    RUNNING = "running"
    """It trains, or checks and publishes what was trained; `JobRecord.stage` says which."""
    STOPPING = "stopping"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


ACTIVE = frozenset({JobState.INITIALIZING, JobState.RUNNING, JobState.STOPPING})
"""States in which a trainer process holds the job's lock."""
ENDED = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.STOPPED})
RESUMABLE = frozenset({JobState.FAILED, JobState.STOPPED})

CHECKING = "checking"
"""The stage in which what was trained is compared with what will be served."""

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.INITIALIZING, JobState.STOPPED, JobState.FAILED}),
    JobState.INITIALIZING: frozenset(
        {JobState.RUNNING, JobState.STOPPING, JobState.FAILED, JobState.STOPPED, JobState.QUEUED}
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.STOPPING,
            JobState.COMPLETED,
            JobState.FAILED,
            JobState.STOPPED,
            JobState.QUEUED,
        }
    ),
    JobState.STOPPING: frozenset({JobState.STOPPED, JobState.COMPLETED, JobState.FAILED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.STOPPED: frozenset({JobState.QUEUED}),
}
"""From each state, where a job may go; an active job goes back to the queue when its trainer
died and it is to be resumed."""


class EventKind(StrEnum):
    """What an event in a job's history tells."""

    STATUS = "status"
    """``{"status", "stage", "error"?}``"""
    METRIC = "metric"
    """``{"step", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second", …}``, or
    ``{"step", "epoch", "eval_loss", …}``"""
    LOG = "log"
    """``{"level", "message"}``"""
    SAMPLE = "sample"
    """``{"step", "prompt", "answer"}``"""
    CHECKPOINT = "checkpoint"
    """``{"step", "eval_loss"?}``"""


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One line of a job's history."""

    id: int
    """Grows with time over all jobs: what ``Last-Event-ID`` names."""
    job_id: int
    time: float
    """Unix time in seconds."""
    kind: EventKind
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a job is made of."""

    owner: str
    model_id: int
    model_name: str
    dataset: str
    """As the user gave it."""
    dataset_sha256: str
    rows: int
    recipe: Recipe
    resulting_name: str
    """The name that the result gets: ``base:suffix``."""
    idempotency_key: str | None = None
    resumed_from: int | None = None
    """The job whose last checkpoint this one goes on from."""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as of now."""

    id: int
    owner: str
    model_id: int
    model_name: str
    dataset: str
    dataset_sha256: str
    rows: int
    recipe: Recipe
    resulting_name: str
    resumed_from: int | None
    metadata: dict[str, Any]
    status: JobState
    stage: str
    """What it does within its state, in a word or two: loading, measuring, training, checking."""
    created_at: float
    """Unix time in seconds, as the two below."""
    started_at: float | None
    ended_at: float | None
    current_step: int
    total_steps: int
    """0 until known."""
    current_epoch: float
    eta_seconds: float | None
    trained_tokens: int
    error: str | None
    stop_requested: bool
    attempts: int
    """How many trainers have had it."""
    estimate: dict[str, Any] | None
    parity: dict[str, Any] | None
    resulting_model: str | None
    """The name of the model that it made, once that is registered."""
