"""The stream of a job's events, and what else is told of it over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from api.test_openapi import check
from fakes.fake_trainer import FOREVER, Fault
from fakes.waiting import wait_until
from finetune.conftest import data_directory, queue, serving_jobs
from serving import Server

from npu_jupyter.finetune.records import EventKind, JobState
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.registry.store import Registry


def events(reply: httpx.Response) -> Iterator[dict[str, Any]]:
    """Read a stream of events."""
    for line in reply.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One data directory for all: each test has a job of its own."""
    with data_directory(tmp_path_factory.mktemp("jobs")) as registry:
        yield registry


@pytest.fixture(scope="module")
def server(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("service")
    with serving_jobs(registry.root, home, "--Supervisor.max_running_jobs=9") as server:
        yield server


def test_a_stream_replays_from_the_start_goes_on_and_ends(
    server: Server, registry: Registry, store: JobStore
) -> None:
    job = queue(store, registry, "steps=8")
    with server.http() as http, http.stream("GET", f"/api/finetune/events/{job.id}") as reply:
        assert reply.headers["Content-Type"] == "text/event-stream"
        told = list(events(reply))
    for event in told:
        check("JobEvent", event)
    assert [event["id"] for event in told] == [event.id for event in store.events(job.id)]
    statuses = [event["status"] for event in told if event["event"] == "status"]
    assert statuses == ["queued", "initializing", "running", "completed"]
    metrics = [event for event in told if event["event"] == "metric"]
    assert [event["step"] for event in metrics] == list(range(1, 9))
    assert {"loss", "learning_rate", "epoch", "time", "job_id"} <= metrics[0].keys()
    with server.http() as http:
        path = f"/api/finetune/events/{job.id}"
        late = list(events(http.get(path, headers={"Last-Event-ID": str(told[5]["id"])})))
    assert late == told[6:]


def test_many_listen_to_a_job_that_runs_and_one_leaves(
    server: Server, registry: Registry, store: JobStore
) -> None:
    job = queue(store, registry, f"steps={FOREVER}")
    path = f"/api/finetune/events/{job.id}"
    with server.http() as http, http.stream("GET", path) as first:
        told = events(first)
        next(told)
        with http.stream("GET", path) as second:
            next(events(second))
        while next(told)["event"] != "metric":
            pass
        http.post(f"/api/finetune/stop/{job.id}")
        assert list(told)[-1]["status"] == "stopped"


def test_status_tells_all_of_a_job(server: Server, registry: Registry, store: JobStore) -> None:
    job = queue(store, registry, f"steps=4 fault={Fault.RAISE}", metadata={"for": "a test"})
    with server.http() as http:
        wait_until(lambda: store.get(job.id).status is JobState.FAILED)
        told = http.get(f"/api/finetune/status/{job.id}").json()
        check("WholeJob", told)
        assert told["status"] == "failed"
        assert "the loss is no number" in told["error"]
        assert [metric["step"] for metric in told["metrics"]] == [1, 2, 3]
        assert told["samples"][0]["answer"] == "b"
        assert told["checkpoints"][0]["step"] == 2
        assert told["config"]["lora_r"] == 16
        assert told["config"]["dataset"] == job.dataset
        assert told["metadata"] == {"for": "a test"}
        known = {"params": {"after": told["last_event_id"]}}
        assert http.get(f"/api/finetune/status/{job.id}", **known).json()["metrics"] == []
        jobs = http.get("/api/finetune/jobs").json()
        check("JobList", jobs)
        listed = jobs["jobs"][0]
        assert listed.items() <= told.items()
        assert http.post(f"/api/finetune/resume/{job.id}").json()["status"] == "initializing"
        wait_until(lambda: store.get(job.id).status is JobState.COMPLETED)


def test_a_job_is_stopped_and_removed(server: Server, registry: Registry, store: JobStore) -> None:
    job = queue(store, registry, f"steps={FOREVER}")
    with server.http() as http:
        wait_until(lambda: store.get(job.id).current_step)
        early = http.delete(f"/api/finetune/jobs/{job.id}")
        assert early.status_code == 409
        assert "Stop it first" in early.json()["error"]["message"]
        stopped = http.post(f"/api/finetune/stop/{job.id}").json()
        assert stopped["status"] in {"stopping", "stopped"}
        wait_until(lambda: store.get(job.id).status is JobState.STOPPED)
        again = http.post(f"/api/finetune/stop/{job.id}")
        assert again.status_code == 409
        assert http.delete(f"/api/finetune/jobs/{job.id}").json()["status"] == "removed"
        assert http.get(f"/api/finetune/status/{job.id}").status_code == 404
    assert not (registry.root / "jobs" / str(job.id)).exists()


@pytest.mark.parametrize("call", ["GET status", "POST stop", "POST resume", "GET events"])
def test_a_job_of_somebody_else_is_not_there(
    server: Server, registry: Registry, store: JobStore, call: str
) -> None:
    job = queue(store, registry, f"steps={FOREVER}", owner="bob")
    verb, name = call.split()
    with server.http() as http:
        reply = http.request(verb, f"/api/finetune/{name}/{job.id}")
        nothing = http.request(verb, f"/api/finetune/{name}/{job.id + 1}")
        assert reply.status_code == nothing.status_code == 404
        listed = http.get("/api/finetune/jobs").json()["jobs"]
        assert job.id not in {one["id"] for one in listed}
        assert http.delete(f"/api/finetune/jobs/{job.id}").status_code == 404
    assert not store.get(job.id).stop_requested


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/finetune/status/{}?after=soon", {}),
        ("/api/finetune/events/{}", {"Last-Event-ID": "9" * 40}),
    ],
)
def test_a_bad_event_id_is_named(
    server: Server, registry: Registry, store: JobStore, path: str, headers: dict[str, str]
) -> None:
    job = queue(store, registry)
    with server.http() as http:
        reply = http.get(path.format(job.id), headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] in {"after", "Last-Event-ID"}


def test_only_what_was_trained_is_exported(
    server: Server, registry: Registry, store: JobStore
) -> None:
    job = queue(store, registry, f"steps=3 fault={Fault.TELL}")
    with server.http() as http:
        wait_until(lambda: store.get(job.id).status is JobState.FAILED)
        reply = http.post("/api/finetune/export", json={"job_id": job.id, "precision": "int8"})
        assert reply.status_code == 409
        assert "is failed" in reply.json()["error"]["message"]
        reply = http.post("/api/finetune/export", json={"job_id": job.id, "precision": "int3"})
        assert reply.json()["error"]["param"] == "precision"


def test_a_database_that_is_locked_for_a_while_loses_nothing(
    server: Server, registry: Registry, store: JobStore
) -> None:
    job = queue(store, registry, "steps=20 step_s=0.01")
    wait_until(lambda: store.get(job.id).current_step)
    with registry.session() as session, session.begin():
        session.connection().exec_driver_sql("BEGIN IMMEDIATE")
        with server.http() as http:
            assert http.get(f"/api/finetune/status/{job.id}").status_code == 200
    wait_until(lambda: store.get(job.id).status is JobState.COMPLETED)
    steps = [event.data["step"] for event in store.events(job.id, kinds={EventKind.METRIC})]
    assert steps == list(range(1, 21))
