"""A trainer as a process: what is left of it, however it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.records import ACTIVE, EventKind, JobRecord, JobState, NewJob
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.trainer.checkpoints import Checkpoints, Manifest
from npu_jupyter.registry.store import Registry

pytestmark = pytest.mark.slow

_KILLED = 137
_TIMEOUT_S = 300
_LIMIT_BYTES = 6_000_000
"""Less than the optimizer's state, more than the database."""
RECIPE = Recipe(
    max_steps=6,
    learning_rate=1e-2,
    lora_r=4,
    lora_dropout=0.1,
    eval_split=0.2,
    eval_steps=3,
    save_steps=2,
)


@dataclass
class Job:
    """A job whose trainer the test starts, as a supervisor would."""

    store: JobStore
    folder: JobFolder
    id: int

    @property
    def record(self) -> JobRecord:
        return self.store.get(self.id)

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder.checkpoints)

    def losses(self) -> list[tuple[int, float]]:
        events = self.store.events(self.id, kinds={EventKind.METRIC})
        return [(e.data["step"], e.data["loss"]) for e in events if "loss" in e.data]

    def start(self, *, resume: bool = False, **options: Any) -> subprocess.Popen[bytes]:
        """Start a trainer."""
        if resume:
            if self.record.status in ACTIVE:
                self.store.move(self.id, JobState.FAILED, expected=ACTIVE, error="It was lost.")
            self.store.request_resume(self.id)
        assert self.store.pick(1)
        line = {
            "data_dir": str(self.folder.path.parents[1]),
            "job_id": self.id,
            "resume": resume,
            "faults": options.pop("faults", {}),
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "npu_jupyter.finetune.trainer"],
            stdin=subprocess.PIPE,
            stdout=self.folder.log.open("ab"),
            stderr=subprocess.STDOUT,
            **options,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(line).encode() + b"\n")
        process.stdin.close()
        return process

    def run(self, **options: Any) -> int:
        """Start a trainer and wait for its end."""
        return self.start(**options).wait(_TIMEOUT_S)


@pytest.fixture
def queue(demo_data_dir: Path, tiny: Path, rows: Path, tmp_path: Path) -> Callable[..., Job]:
    """Queue jobs on the demo's chat model, which has the tiny model's weights to train."""
    data = tmp_path / "data"
    data.mkdir()
    shutil.copyfile(demo_data_dir / "npu.sqlite3", data / "npu.sqlite3")
    registry = Registry(data_dir=str(data))
    model = registry.get("smollm2-135m-instruct")
    shutil.copytree(tiny, registry.base_folder(model.id) / "hugging-face")

    def add(**changes: Any) -> Job:
        store = JobStore(registry)
        job, _ = store.add(
            NewJob(
                owner="local",
                model_id=changes.pop("model_id", model.id),
                model_name=model.name,
                dataset="rows.jsonl",
                dataset_sha256="0" * 64,
                rows=24,
                recipe=msgspec.structs.replace(RECIPE, **changes),
                resulting_name=f"{model.name}:tuned",
            )
        )
        folder = JobFolder(data, job.id)
        folder.path.mkdir(parents=True)
        shutil.copyfile(rows, folder.rows)
        return Job(store, folder, job.id)

    return add


def test_killed_jobs_go_on_from_their_last_whole_checkpoint(queue: Callable[..., Job]) -> None:
    job = queue(eval_split=0)
    assert job.run(faults={"checkpoint:4": "kill"}) == _KILLED
    assert job.record.status is JobState.RUNNING
    assert job.checkpoints.steps() == [2]
    first = job.losses()
    assert [step for step, _ in first] == [1, 2, 3, 4]
    assert job.run(resume=True, faults={"step:6": "kill"}) == _KILLED
    second = job.losses()[len(first) :]
    assert [step for step, _ in second] == [3, 4, 5]
    assert second[:2] == first[2:]
    newest = job.checkpoints.newest()
    assert newest is not None
    assert newest.step == 4
    assert job.run(resume=True) == 0
    third = job.losses()[len(first + second) :]
    assert third[0] == second[-1]
    assert [step for step, _ in third] == [5, 6]
    assert job.record.estimate
    assert job.record.current_step == job.record.total_steps == 6
    kinds = {event.kind for event in job.store.events(job.id)}
    assert {EventKind.CHECKPOINT, EventKind.LOG, EventKind.STATUS} <= kinds


def test_a_job_stops_at_its_next_step_with_a_checkpoint(queue: Callable[..., Job]) -> None:
    job = queue(
        max_steps=10_000, save_steps=10_000, eval_split=0, sample_prompts=("Who?",), sample_steps=1
    )
    trainer = job.start()
    while not job.losses():
        assert trainer.poll() is None
        time.sleep(0.1)
    job.store.request_stop(job.id)
    assert trainer.wait(_TIMEOUT_S) == 0
    assert job.record.status is JobState.STOPPED
    assert job.checkpoints.steps() == [job.record.current_step]
    assert job.store.events(job.id, kinds={EventKind.SAMPLE})[0].data["prompt"] == "Who?"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size")
def test_a_disk_that_fills_up_is_told(queue: Callable[..., Job]) -> None:
    import resource

    job = queue(lora_r=512, max_steps=2)
    limits = (_LIMIT_BYTES, _LIMIT_BYTES)
    code = job.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))
    assert code == 0
    assert job.record.status is JobState.FAILED
    assert "The disk filled up" in (job.record.error or "")
    assert job.checkpoints.newest() is None


def test_a_job_goes_on_with_the_settings_of_its_checkpoint_alone(
    queue: Callable[..., Job],
) -> None:
    job = queue(lora_r=8, epochs=9)
    recipe = msgspec.to_builtins(RECIPE)
    written = job.checkpoints.aside() / "checkpoint"
    written.mkdir()
    manifest = Manifest(step=2, recipe=recipe, dataset_sha256="0" * 64)
    job.checkpoints.seal(written, manifest)
    assert job.store.pick(1)
    job.store.move(job.id, JobState.STOPPED, expected=ACTIVE)
    assert job.run(resume=True) == 0
    assert job.record.status is JobState.FAILED
    assert "lora_r (4 then, 8 now)" in (job.record.error or "")
    assert "epochs" not in (job.record.error or "")
    assert job.checkpoints.newest()


def test_a_job_whose_model_was_removed_fails_in_words(queue: Callable[..., Job]) -> None:
    job = queue(model_id=99)
    assert job.run() == 0
    assert job.record.status is JobState.FAILED
    assert "99" in (job.record.error or "")
