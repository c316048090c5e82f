"""Jobs and datasets by the client: real calls on a real server, a history written beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from serving import LLM, Server

import npu_jupyter as npu
from npu_jupyter.client import Client
from npu_jupyter.client.finetune import Job
from npu_jupyter.client.jobs import JobFacts
from npu_jupyter.errors import InvalidRequest, NotFound, NpuError
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.records import EventKind, JobState, NewJob
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.registry.store import Registry

ROWS = [
    {"prompt": f"What is the {n}th harbour light?", "completion": f"It is light {n}."}
    for n in range(8)
]
_STEPS = 6


@pytest.fixture(scope="module")
def finished(bare_server: Server) -> Iterator[int]:
    """A job that a trainer has finished, as its database has it."""
    registry = Registry(data_dir=str(bare_server.data_dir))
    store = JobStore(registry)
    job, _ = store.add(
        NewJob(
            owner="local",
            model_id=registry.get(LLM).id,
            model_name=LLM,
            dataset="harbour.jsonl",
            dataset_sha256="0" * 64,
            rows=len(ROWS),
            recipe=Recipe(),
            resulting_name=f"{LLM}:finished",
        )
    )
    # At once, before the server finds it in the queue.
    over = {"expected": {JobState.QUEUED}, "error": "The parity is under its limit."}
    assert store.move(job.id, JobState.FAILED, **over)
    store.progress(job.id, total_steps=_STEPS, current_step=_STEPS)
    for step in range(1, _STEPS + 1):
        metric = {"step": step, "epoch": step / 3, "loss": 3 / step, "learning_rate": 1e-4}
        store.report(job.id, EventKind.METRIC, metric)
    store.report(job.id, EventKind.METRIC, {"step": _STEPS, "epoch": 2.0, "eval_loss": 0.7})
    yield job.id
    registry.close()


def test_a_job_is_found_with_all_that_is_known_of_it(client: Client, finished: int) -> None:
    job = client.finetune.job(finished)
    assert (job.status, job.facts.over, job.resulting_model) == ("failed", True, None)
    assert finished in [listed.id for listed in client.finetune.jobs()]
    assert "step 6 of 6 (100 %)" in repr(job)
    assert "The parity is under its limit." in job._repr_html_()
    assert LLM in client.finetune.jobs()._repr_html_()
    with pytest.raises(NotFound, match="There is no job 999999"):
        client.finetune.job(999_999)


def test_metrics_are_a_frame_by_step_and_a_picture(client: Client, finished: int) -> None:
    job = client.finetune.job(finished)
    metrics = job.metrics()
    assert list(metrics.index) == list(range(1, _STEPS + 1))
    assert metrics["loss"].iloc[-1] == 0.5
    assert metrics["eval_loss"].dropna().to_dict() == {_STEPS: 0.7}
    loss, rate = job.plot().axes
    assert [line.get_label() for line in loss.get_lines()] == ["loss", "eval loss"]
    assert len(rate.get_lines()[0].get_xdata()) == _STEPS


def test_events_and_waiting_end_with_the_job(client: Client, finished: int) -> None:
    job = client.finetune.job(finished)
    told = list(job.events())
    assert [event["step"] for event in told if event["event"] == "metric"][:3] == [1, 2, 3]
    assert "failed" in [event["status"] for event in told if event["event"] == "status"]
    seen: list[JobFacts] = []
    assert job.wait(progress=seen.append) is job
    assert seen[-1].over


@pytest.mark.asyncio(loop_scope="session")
async def test_the_twin_does_the_same(bare_server: Server, finished: int) -> None:
    async with npu.connect_async(bare_server.url) as client:
        job = await client.finetune.job(finished)
        assert len(await job.metrics()) == _STEPS
        assert (await job.plot()).axes
        assert "metric" in [event["event"] async for event in job.events()]
        assert (await job.wait(progress=lambda _facts: None)).status == "failed"
        assert finished in [listed.id for listed in await client.finetune.jobs()]
        sent = await client.finetune.upload(ROWS, "twin.jsonl")
        assert sent.name in [dataset.name for dataset in await client.finetune.datasets()]
        assert (await client.finetune.check(LLM, sent.name)).good_rows == len(ROWS)
        await client.finetune.remove_dataset(sent.name)


@pytest.mark.parametrize("kind", ["frame", "list", "path"])
def test_what_is_here_is_sent_and_checked(client: Client, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame(ROWS).to_csv(path, index=False)
    dataset = {"frame": pd.DataFrame(ROWS), "list": ROWS, "path": path}[kind]
    report = client.finetune.check(LLM, dataset)
    assert (report.rows, report.good_rows, report.bad_rows) == (8, 8, 0)
    assert report.tokens is not None
    assert 0 < report.tokens["learned"] < report.tokens["total"]
    assert "8 good" in report._repr_html_()
    assert any(segment["learned"] for segment in report.preview[0].segments)
    names = [sent.name for sent in client.finetune.datasets()]
    assert names
    for name in names:
        client.finetune.remove_dataset(name)
    assert client.finetune.datasets() == []


def test_bad_rows_are_named(client: Client) -> None:
    rows = [*ROWS, {"prompt": "", "completion": ""}, {"prompt": "Why?", "completion": ""}]
    report = client.finetune.check(LLM, rows)
    assert report.bad_rows == 2
    assert {line for bad in report.reasons for line in bad.lines} == {9, 10}
    assert "9" in report._repr_plain_()


@pytest.mark.parametrize("dataset", [7, None, [1, 2], [], Path("nowhere.jsonl")])
def test_what_is_no_dataset(client: Client, dataset: object) -> None:
    with pytest.raises(InvalidRequest) as raised:
        client.finetune.check(LLM, dataset)
    assert raised.value.param == "dataset"


def test_a_job_starts_stops_and_says_what_it_cannot(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="lora_r"):
        client.finetune.start(LLM, ROWS, lora_r=0)
    with pytest.raises(NpuError, match="epoch"):
        client.finetune.start(LLM, ROWS, epoch=1)
    job = client.finetune.start(LLM, ROWS, epochs=1, suffix="client")
    assert isinstance(job, Job)
    assert job.facts.config["epochs"] == 1
    job.stop()
    assert job.wait(progress=lambda _facts: None).status in {"stopped", "completed"}
