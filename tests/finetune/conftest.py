"""Jobs whose trainers train nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import ROOT

from npu_jupyter.finetune.folder import job_folders
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.records import JobRecord, NewJob
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.supervisor import Supervisor
from npu_jupyter.finetune.trainer_process import TrainerProcess
from npu_jupyter.registry.store import Registry

FAKES = ROOT / "tests" / "fakes"

Supervising = Callable[..., Supervisor]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a data directory of its own; no trainer outlives the test."""
    registry = Registry(data_dir=str(tmp_path / "data"))
    yield registry
    for folder in job_folders(registry.root):
        if trainer := TrainerProcess.found(folder):
            trainer.end()
    registry.close()


@pytest.fixture
def store(registry: Registry) -> JobStore:
    return JobStore(registry)


@pytest.fixture
def supervising(
    registry: Registry, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> Supervising:
    """Make supervisors of the data directory, as servers that share it have: one each."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, FAKES))))

    def make(**settings: Any) -> Supervisor:
        settings = {"trainer_module": "fake_trainer"} | settings
        return Supervisor(registry, store, lambda: False, **settings)

    return make


def queue(store: JobStore, registry: Registry, dataset: str = "steps=3", **facts: Any) -> JobRecord:
    """Queue a job for the fake trainer; `dataset` says what it does."""
    facts = {"owner": "ada", "resulting_name": "base:tuned"} | facts
    job, _ = store.add(
        NewJob(
            model_id=1,
            model_name="base",
            dataset=dataset,
            dataset_sha256="0" * 64,
            rows=3,
            recipe=facts.pop("recipe", Recipe()),
            **facts,
        )
    )
    (registry.root / "jobs" / str(job.id)).mkdir(parents=True, exist_ok=True)
    return job
