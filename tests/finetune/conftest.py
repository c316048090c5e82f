"""Jobs whose trainers train nothing."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from serving import ROOT, Server, serve

from npu_jupyter.finetune.folder import job_folders
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.records import JobRecord, NewJob
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.supervisor import Supervisor
from npu_jupyter.finetune.trainer_process import TrainerProcess
from npu_jupyter.registry.store import Registry

FAKES = ROOT / "tests" / "fakes"

OWNER = "local"
_COMMAND = ["-c", "from npu_jupyter.app import main; main()"]

Service = Callable[..., Server]
Supervising = Callable[..., Supervisor]


@contextmanager
def data_directory(folder: Path) -> Iterator[Registry]:
    """Open a data directory; no trainer outlives it."""
    registry = Registry(data_dir=str(folder))
    yield registry
    for job in job_folders(registry.root):
        if trainer := TrainerProcess.found(job):
            trainer.end()
    registry.close()


@contextmanager
def serving_jobs(
    data_dir: Path, home: Path, *options: str, variables: Mapping[str, str] = {}
) -> Iterator[Server]:
    """Run a bare service whose trainers are fake."""
    command = [*_COMMAND, "--Supervisor.trainer_module=fake_trainer", *options]
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, FAKES)))}
    with serve(command, "", "", data_dir, home, variables=paths | dict(variables)) as server:
        yield server


def linked_data(demo_data_dir: Path, folder: Path) -> Path:
    """Copy the demo's data directory for trainers of its own, without its models' bytes."""

    def copy(source: str, target: str) -> None:
        if "sqlite" in source:
            shutil.copy2(source, target)
        else:
            os.link(source, target)

    return Path(shutil.copytree(demo_data_dir, folder, copy_function=copy))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a data directory to one test."""
    with data_directory(tmp_path / "data") as registry:
        yield registry


@pytest.fixture
def service(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Start bare services on the test's data directory."""
    with ExitStack() as servers:

        def start(*options: str) -> Server:
            home = tmp_path_factory.mktemp("service")
            return servers.enter_context(serving_jobs(registry.root, home, *options))

        yield start


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
    default = {
        "owner": OWNER,
        "model_id": 1,
        "model_name": "base",
        "recipe": Recipe(),
        "resulting_name": f"base:{uuid.uuid4().hex}",
    }
    job, _ = store.add(NewJob(dataset=dataset, dataset_sha256="0" * 64, rows=3, **default | facts))
    (registry.root / "jobs" / str(job.id)).mkdir(parents=True, exist_ok=True)
    return job
