"""OpenAI's own client uploads a file, trains on it, and follows the job; every field is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from fakes.fake_trainer import FOREVER
from fakes.waiting import wait_until
from finetune.conftest import data_directory, linked_data, queue, serving_jobs
from openai import OpenAI
from openai.types import FileObject
from serving import LLM

from npu_jupyter.finetune.store import JobStore
from npu_jupyter.registry.store import Registry

ROWS = [{"prompt": f"Say {n}.", "completion": "Ha"} for n in range(6)]
TEXT = "\n".join(map(json.dumps, ROWS)).encode()


@pytest.fixture(scope="module")
def registry(demo_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = linked_data(demo_data_dir, tmp_path_factory.mktemp("openai") / "data")
    with data_directory(folder) as registry:
        yield registry


@pytest.fixture(scope="module")
def client(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with serving_jobs(registry.root, tmp_path_factory.mktemp("service")) as server:
        yield server.client(api_key="none")


@pytest.fixture(scope="module")
def file(client: OpenAI) -> FileObject:
    return client.files.create(file=("my rows.jsonl", TEXT), purpose="fine-tune")


def test_files(client: OpenAI, file: FileObject) -> None:
    assert (file.bytes, file.filename, file.status) == (len(TEXT), "my-rows.jsonl", "processed")
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == TEXT
    other = client.files.create(file=("b.jsonl", b"{}"), purpose="fine-tune")
    assert {one.id for one in client.files.list(limit=1)} == {file.id, other.id}
    assert client.files.delete(other.id).deleted
    with pytest.raises(openai.NotFoundError, match="no file"):
        client.files.retrieve(other.id)


def test_files_that_are_not_taken(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(file=("a.jsonl", TEXT), purpose="vision")
    assert refused.value.param == "purpose"
    with pytest.raises(openai.BadRequestError, match="is empty"):
        client.files.create(file=("a.jsonl", b""), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(
            file=("a.jsonl", TEXT),
            purpose="fine-tune",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
    assert refused.value.param == "expires_after"
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve("../npu.sqlite3")


def test_a_job_from_its_file_to_its_checkpoints(client: OpenAI, file: FileObject) -> None:
    jobs = client.fine_tuning.jobs
    job = jobs.create(
        model=LLM,
        training_file=file.id,
        suffix="sdk",
        seed=7,
        metadata={"steps": "3"},
        method={
            "type": "supervised",
            "supervised": {
                "hyperparameters": {
                    "n_epochs": 2,
                    "batch_size": "auto",
                    "learning_rate_multiplier": 0.5,
                }
            },
        },
    )
    assert job.status == "running"
    assert job.training_file == file.id
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size, job.seed) == (2, 4, 7)
    assert job.hyperparameters.learning_rate_multiplier == 0.5
    wait_until(lambda: jobs.retrieve(job.id).status == "succeeded")
    done = jobs.retrieve(job.id)
    assert done.fine_tuned_model == f"{LLM}:sdk"
    assert done.finished_at
    assert done.error is None
    events = list(jobs.list_events(job.id, limit=2))  # turns pages
    assert len(events) == len({event.id for event in events}) > 6
    assert events[0].message == "The job is completed"
    assert sum(event.type == "metrics" for event in events) == 3
    (kept,) = jobs.checkpoints.list(job.id)
    assert kept.step_number == 2
    assert kept.metrics.valid_loss == 0.5
    assert next(iter(jobs.list())).id == job.id


def test_a_job_is_paused_resumed_and_cancelled(client: OpenAI, registry: Registry) -> None:
    jobs = client.fine_tuning.jobs
    name = f"ftjob-{queue(JobStore(registry), registry, f'steps={FOREVER}').id}"
    wait_until(lambda: jobs.retrieve(name).status == "running")
    jobs.pause(name)
    wait_until(lambda: jobs.retrieve(name).status == "cancelled")
    assert jobs.resume(name).status in {"queued", "running"}
    jobs.cancel(name)
    wait_until(lambda: jobs.retrieve(name).status == "cancelled")
    with pytest.raises(openai.ConflictError, match="nothing to stop"):
        jobs.cancel(name)


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"model": "nobody"}, openai.NotFoundError, "model"),
        ({"training_file": "file-none"}, openai.PermissionDeniedError, "training_file"),
        ({"validation_file": "file-1"}, openai.BadRequestError, "validation_file"),
        ({"integrations": [{"type": "wandb"}]}, openai.BadRequestError, "integrations"),
        ({"method": {"type": "dpo"}}, openai.BadRequestError, "method.type"),
        (
            {"hyperparameters": {"n_epochs": 0}},
            openai.BadRequestError,
            "hyperparameters.n_epochs",
        ),
        ({"suffix": "no spaces"}, openai.BadRequestError, "suffix"),
    ],
    ids=str,
)
def test_what_stands_against_a_job_is_named(
    client: OpenAI,
    file: FileObject,
    fields: dict[str, object],
    kind: type[openai.APIStatusError],
    param: str,
) -> None:
    body = {"model": LLM, "training_file": file.id} | fields
    with pytest.raises(kind) as refused:
        client.fine_tuning.jobs.create(**body)  # type: ignore[arg-type]
    assert refused.value.param == param


def test_a_job_that_there_is_not(client: OpenAI) -> None:
    for name in ("ftjob-999", "ftjob-x", "7"):
        with pytest.raises(openai.NotFoundError):
            client.fine_tuning.jobs.retrieve(name)
