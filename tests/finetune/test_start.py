"""From a request over HTTP to a job: every fault is named before anything is queued."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.fake_trainer import FOREVER, Fault
from fakes.waiting import wait_until
from finetune.conftest import data_directory, linked_data, queue, serving_jobs
from serving import EMBEDDER, LLM, Server

from npu_jupyter.errors import Conflict
from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.records import JobState
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.registry.store import Registry

ROWS = [
    {"messages": [{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": "Ha"}]}
    for n in range(6)
]


@pytest.fixture(scope="module")
def registry(demo_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Both demo models, in a data directory that only fake trainers know."""
    folder = linked_data(demo_data_dir, tmp_path_factory.mktemp("start") / "data")
    with data_directory(folder) as registry:
        yield registry


@pytest.fixture(scope="module")
def store(registry: Registry) -> JobStore:
    return JobStore(registry)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder from which the server takes datasets."""
    folder = tmp_path_factory.mktemp("datasets")
    (folder / "chat.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    bad = [ROWS[0], {"messages": []}, ROWS[1], {"messages": [{"role": "user"}]}]
    (folder / "bad.jsonl").write_text("\n".join(map(json.dumps, bad)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(
    registry: Registry, datasets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("service")
    options = [f"--NpuApp.source_dirs={datasets}", "--Supervisor.max_running_jobs=1"]
    with serving_jobs(registry.root, home, *options) as server:
        yield server


def start(server: Server, headers: Mapping[str, str] = {}, **fields: Any) -> httpx.Response:
    body = {"model_id": LLM, "dataset": "chat.jsonl", **fields}
    sent = {name: value for name, value in body.items() if value is not None}
    with server.http() as http:
        return http.post("/api/finetune/start", json=sent, headers=headers)


def test_a_job_is_checked_begun_and_done(
    server: Server, registry: Registry, store: JobStore, datasets: Path
) -> None:
    reply = start(server, lora_r=8, epochs=1, metadata={"steps": "2"})
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert told["status"] == "initializing"
    assert told["resulting_name"] == f"{LLM}:chat"
    assert told["report"]["good_rows"] == told["rows"] == 6
    job = store.get(told["job_id"])
    assert (job.recipe.lora_r, job.recipe.lora_alpha) == (8, 32)
    rows = JobFolder(registry.root, job.id).rows.read_text("utf-8").splitlines()
    assert [json.loads(row)["messages"] for row in rows] == [row["messages"] for row in ROWS]
    wait_until(lambda: store.get(job.id).status is JobState.COMPLETED)
    assert list((registry.root / "jobs" / "incoming").iterdir()) == []


def test_a_form_starts_a_job_by_the_registry_s_id(
    server: Server, registry: Registry, store: JobStore
) -> None:
    form = {
        "model_id": str(registry.get(LLM).id),
        "dataset": "chat.jsonl",
        "use_lora": "true",
        "learning_rate": "1e-3",
        "epochs": "2",
        "suffix": "by-form",
        "report_to": "",
        "metadata": '{"steps": "1"}',
    }
    with server.http() as http:
        reply = http.post("/api/finetune/start", data=form)
        assert reply.status_code == 200, reply.text
        foreign = http.post(
            "/api/finetune/start", data=form, headers={"Sec-Fetch-Site": "cross-site"}
        )
    assert foreign.status_code == 403
    job = store.get(reply.json()["job_id"])
    assert job.recipe.learning_rate == 1e-3
    assert job.resulting_name == f"{LLM}:by-form"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"lora_r": 0}, (400, "lora_r", "at least 1, not 0")),
        ({"lora_r": -1}, (400, "lora_r", "at least 1, not -1")),
        ({"lora_r": 10_000}, (400, "lora_r", "at most 512")),
        ({"lora_r": 10**400}, (400, "lora_r", "at most 512")),
        ({"epochs": 0}, (400, "epochs", "at least 1e-08")),
        ({"batch_size": 10_000}, (400, "batch_size", "at most 1024")),
        ({"learning_rate": "abc"}, (400, "learning_rate", 'not the string "abc"')),
        ({"learning_rate": 2}, (400, "learning_rate", "at most 1")),
        ({"use_lora": "yes"}, (400, "use_lora", "true or false")),
        ({"quantize_base": True, "use_lora": False}, (400, "quantize_base", "needs use_lora")),
        ({"learning_rte": 1e-4}, (400, "learning_rte", "Did you mean learning_rate?")),
        ({"report_to": ["carrier-pigeon"]}, (400, "report_to", "tensorboard")),
        ({"max_length": 999_999}, (400, "max_length", "8,192")),
        ({"suffix": "a/b"}, (400, "suffix", "letters, digits")),
        ({"suffix": "x" * 65}, (400, "suffix", "at most 64")),
        ({"model_id": None}, (400, "model_id", "required")),
        ({"dataset": None}, (400, "dataset", "required")),
        ({"model_id": "nobody"}, (404, "model_id", "There is no model 'nobody'")),
        ({"model_id": 999}, (404, "model_id", "There is no model '999'")),
        ({"model_id": EMBEDDER}, (400, "model_id", "is an embedding model")),
        ({"dataset": "missing.jsonl"}, (404, "dataset", "no file 'missing.jsonl'")),
        ({"dataset": "/etc/passwd"}, (403, "dataset", "may be read")),
        ({"dataset": "file-" + "0" * 32}, (404, None, "no file")),
        ({"dataset": "bad.jsonl"}, (400, "dataset", "2 of 4 rows")),
        ({"resume_from": 999}, (404, None, "no job 999")),
    ],
    ids=str,
)
def test_what_stands_against_a_job_is_named(
    server: Server,
    store: JobStore,
    fields: dict[str, Any],
    expected: tuple[int, str | None, str],
) -> None:
    status, param, message = expected
    before = len(store.jobs())
    reply = start(server, **fields)
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert message in error["message"]
    assert error["param"] == param
    assert len(store.jobs()) == before


@pytest.mark.parametrize("rate", ["inf", "nan", "abc"])
def test_a_form_s_number_that_is_none(server: Server, rate: str) -> None:
    form = {"model_id": LLM, "dataset": "chat.jsonl", "learning_rate": rate}
    with server.http() as http:
        reply = http.post("/api/finetune/start", data=form)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "learning_rate"


@pytest.mark.slow
def test_two_starts_at_once_with_one_key_are_one_job(server: Server, store: JobStore) -> None:
    key = {"Idempotency-Key": "once"}
    fields = {"suffix": "once", "metadata": {"steps": "1"}}
    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(lambda _: start(server, key, **fields), range(2)))
    assert [reply.status_code for reply in replies] == [200, 200], replies[0].text
    (job_id,) = {reply.json()["job_id"] for reply in replies}
    wait_until(lambda: store.get(job_id).status is JobState.COMPLETED)
    assert start(server, key, **fields).json()["status"] == "completed"
    other = start(server, key, **fields, lora_r=4)
    assert other.status_code == 409
    assert other.json()["error"]["param"] == "Idempotency-Key"


def test_two_jobs_do_not_make_one_model(
    server: Server, registry: Registry, store: JobStore
) -> None:
    name = f"{LLM}:twice"
    first = queue(store, registry, f"steps={FOREVER}", resulting_name=name)
    again = start(server, suffix="twice")
    assert again.status_code == 409
    assert again.json()["error"]["param"] == "suffix"
    with pytest.raises(Conflict, match=f"Job {first.id} makes {name} already"):
        queue(store, registry, resulting_name=name)  # as two requests at once would
    store.request_stop(first.id)
    wait_until(lambda: store.get(first.id).status is JobState.STOPPED)


def test_a_run_goes_on_with_the_same_settings_alone(
    server: Server, registry: Registry, store: JobStore
) -> None:
    model = {"model_id": registry.get(LLM).id, "model_name": LLM}
    metadata = {"steps": "5", "fault": Fault.RAISE}
    job = queue(store, registry, "a.jsonl", recipe=Recipe(lora_r=4), metadata=metadata, **model)
    JobFolder(registry.root, job.id).rows.write_text("{}", encoding="utf-8")
    wait_until(lambda: store.get(job.id).status is JobState.FAILED)
    with server.http() as http:
        refused = http.post(f"/api/finetune/resume/{job.id}", json={"lora_r": 8})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "lora_r"
    assert f"was 4 in job {job.id}" in refused.json()["error"]["message"]
    other = start(server, model_id=None, dataset="bad.jsonl", resume_from=job.id)
    assert other.json()["error"]["param"] == "dataset"
    more = start(server, model_id=None, dataset=None, resume_from=job.id, lora_r=4, save_steps=7)
    assert more.status_code == 200, more.text
    new = store.get(more.json()["job_id"])
    assert new.resumed_from == job.id
    assert (new.recipe.lora_r, new.recipe.save_steps) == (4, 7)
    assert JobFolder(registry.root, new.id).last_checkpoint == 2
    wait_until(lambda: store.get(new.id).current_step)
    assert store.get(new.id).current_step >= 3
