"""What callers are told of a job."""

from __future__ import annotations

from typing import Any

import msgspec

from npu_jupyter.finetune.records import EventKind, JobEvent, JobRecord


def summary(job: JobRecord) -> dict[str, Any]:
    """Tell of a job in a list."""
    return {
        "id": job.id,
        "model_id": job.model_id,
        "model_name": job.model_name,
        "dataset": job.dataset,
        "status": job.status,
        "stage": job.stage,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "current_step": job.current_step,
        "total_steps": job.total_steps,
        "current_epoch": job.current_epoch,
        "eta_seconds": job.eta_seconds,
        "error": job.error,
        "resulting_model": job.resulting_model,
    }


def whole(job: JobRecord, history: list[JobEvent]) -> dict[str, Any]:
    """Tell all of a job, with that part of its history that was asked for."""
    kinds: dict[EventKind, list[dict[str, Any]]] = {kind: [] for kind in EventKind}
    for event in history:
        kinds[event.kind].append({"time": event.time, **event.data})
    return summary(job) | {
        "config": {
            "model_id": job.model_id,
            "dataset": job.dataset,
            "dataset_sha256": job.dataset_sha256,
            "rows": job.rows,
            "resulting_name": job.resulting_name,
            **msgspec.to_builtins(job.recipe),
        },
        "metadata": job.metadata,
        "resumed_from": job.resumed_from,
        "attempts": job.attempts,
        "trained_tokens": job.trained_tokens,
        "estimate": job.estimate,
        "parity": job.parity,
        "metrics": kinds[EventKind.METRIC],
        "samples": kinds[EventKind.SAMPLE],
        "checkpoints": kinds[EventKind.CHECKPOINT],
        "log": kinds[EventKind.LOG],
        "last_event_id": history[-1].id if history else None,
    }


def event(told: JobEvent) -> dict[str, Any]:
    """Tell of one event, as the stream does."""
    head = {"id": told.id, "event": told.kind, "time": told.time, "job_id": told.job_id}
    return head | told.data
