"""Jobs and the servers that come and go around them; each test kills what it needs to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from fakes.fake_trainer import FOREVER
from fakes.waiting import wait_until
from finetune.conftest import Service, linked_data, queue, serving_jobs
from serving import LLM, Server

from npu_jupyter.errors import InsufficientDisk
from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.records import ENDED, EventKind, JobRecord, JobState
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.trainer_process import TrainerProcess
from npu_jupyter.registry.store import Registry

pytestmark = pytest.mark.slow


def kill(server: Server) -> None:
    process = psutil.Process(server.pid)
    process.kill()
    process.wait()


def trainer_of(registry: Registry, job: JobRecord) -> psutil.Process:
    found = TrainerProcess.found(JobFolder(registry.root, job.id))
    assert found is not None
    return psutil.Process(found.pid)


def steps(store: JobStore, job: JobRecord) -> list[int]:
    return [event.data["step"] for event in store.events(job.id, kinds={EventKind.METRIC})]


def test_a_job_outlives_its_server(service: Service, registry: Registry, store: JobStore) -> None:
    job = queue(store, registry, f"steps={FOREVER}")
    server = service()
    wait_until(lambda: store.get(job.id).current_step)
    trainer = trainer_of(registry, job)
    kill(server)
    step = store.get(job.id).current_step
    wait_until(lambda: store.get(job.id).current_step > step)
    successor = service()
    assert trainer.is_running()
    with successor.http() as http:
        http.post(f"/api/finetune/stop/{job.id}")
        assert '"stopped"' in http.get(f"/api/finetune/events/{job.id}").text
    ended = store.get(job.id)
    assert ended.attempts == 1
    assert steps(store, job) == list(range(1, ended.current_step + 1))
    wait_until(lambda: not JobFolder(registry.root, job.id).process.exists())


def test_a_server_goes_on_with_a_job_whose_trainer_died_with_the_last_server(
    service: Service, registry: Registry, store: JobStore
) -> None:
    job = queue(store, registry, "steps=30")
    server = service()
    wait_until(lambda: store.get(job.id).current_step > 2)
    trainer = trainer_of(registry, job)
    kill(server)
    trainer.kill()
    service("--Supervisor.resume_automatically=True")
    wait_until(lambda: store.get(job.id).status in ENDED)
    ended = store.get(job.id)
    assert (ended.status, ended.attempts) == (JobState.COMPLETED, 2)
    assert set(steps(store, job)) == set(range(1, 31))
    (log,) = store.events(job.id, kinds={EventKind.LOG})
    assert "while no server watched it" in log.data["message"]


def test_two_servers_run_each_job_once(
    service: Service, registry: Registry, store: JobStore
) -> None:
    with ThreadPoolExecutor(2) as pool:
        servers = list(pool.map(lambda _: service("--Supervisor.max_running_jobs=2"), range(2)))
    jobs = [queue(store, registry, "steps=2") for _ in range(3)]
    for server in servers:
        with server.http() as http:
            assert len(http.get("/api/finetune/jobs").json()["jobs"]) == 3
    wait_until(lambda: all(store.get(job.id).status in ENDED for job in jobs))
    for job in jobs:
        assert store.get(job.id).status is JobState.COMPLETED
        assert store.get(job.id).attempts == 1
        assert steps(store, job) == [1, 2]


@pytest.fixture
def chatting(demo_data_dir: Path, tmp_path: Path) -> Iterator[Server]:
    """A server that chats, by a worker without a model, and lets trainers know."""
    folder = linked_data(demo_data_dir, tmp_path / "chatting")
    options = ["--Launcher.worker_module=fake_worker", "--Supervisor.pause_while_serving=True"]
    with ExitStack() as stack:
        yield stack.enter_context(serving_jobs(folder, tmp_path, *options))


def test_trainers_are_told_while_requests_run(chatting: Server) -> None:
    registry = Registry(data_dir=str(chatting.data_dir))
    store = JobStore(registry)
    job = queue(store, registry, f"steps={FOREVER}")
    busy = registry.root / "jobs" / "inference.busy"
    wait_until(lambda: store.get(job.id).current_step)
    assert not busy.exists()
    body = {"model": LLM, "prompt": "count", "max_tokens": 1_000_000, "stream": True}
    with chatting.http() as http:
        with http.stream("POST", "/v1/completions", json=body) as reply:
            next(reply.iter_lines())
            wait_until(busy.exists)
            assert float(busy.read_text("utf-8")) > time.time()
        wait_until(lambda: float(busy.read_text("utf-8")) < time.time())
        http.post(f"/api/finetune/stop/{job.id}")
    wait_until(lambda: store.get(job.id).status is JobState.STOPPED)
    registry.close()


def test_a_full_disk_is_told_and_loses_nothing(registry: Registry, store: JobStore) -> None:
    job = queue(store, registry)
    before = store.events(job.id)
    with registry.session() as session:
        pages = session.connection().exec_driver_sql("PRAGMA page_count").scalar_one()
        session.connection().exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(InsufficientDisk, match="cannot grow: database or disk is full"):
        store.report(job.id, EventKind.LOG, {"level": "info", "message": "x" * 1_000_000})
    with pytest.raises(InsufficientDisk):
        queue(store, registry, "y" * 10_000)
    with registry.session() as session:
        session.connection().exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert store.get(job.id).status is JobState.QUEUED
    assert store.events(job.id)[: len(before)] == before
    assert len(store.jobs()) == 1
    store.request_stop(job.id)
    assert store.get(job.id).status is JobState.STOPPED
