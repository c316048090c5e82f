"""``jupyter npu finetune``: jobs from the command line, with no server anywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.fake_trainer import FOREVER, Fault
from fakes.waiting import wait_until
from finetune.conftest import FAKES, data_directory, linked_data, queue
from serving import LLM, ROOT

from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.records import ENDED, JobState
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.trainer_process import TrainerProcess
from npu_jupyter.registry.store import Registry

Command = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def registry(demo_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = linked_data(demo_data_dir, tmp_path_factory.mktemp("cli") / "data")
    with data_directory(folder) as registry:
        yield registry


@pytest.fixture
def store(registry: Registry) -> JobStore:
    return JobStore(registry)


@pytest.fixture
def command(registry: Registry, tmp_path: Path) -> Command:
    """Begin ``jupyter npu finetune WORDS`` in a folder with a dataset."""
    rows = [{"prompt": f"Say {n}.", "completion": "Ha"} for n in range(6)]
    (tmp_path / "tiny.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    code = "from npu_jupyter.app import main; main()"
    options = [f"--data-dir={registry.root}", "--Supervisor.trainer_module=fake_trainer"]
    paths = os.pathsep.join(map(str, (ROOT, FAKES)))

    def begin(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, "finetune", *words, *options],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


def said(process: subprocess.Popen[str]) -> str:
    """Wait for a command's end; give its words."""
    return process.communicate(timeout=120)[0]


@pytest.mark.slow
def test_start_waits_and_says_what_came_of_it(command: Command, store: JobStore) -> None:
    process = command(
        "start", LLM, "tiny.jsonl", "--epochs=2", "--set", "lora_r=8", "--set", "seed=7"
    )
    text = said(process)
    assert process.returncode == 0, text
    assert "6 of 6 rows are good" in text
    assert "running training" in text
    assert f"{LLM}:tiny is ready." in text
    job = store.jobs()[-1]
    assert (job.recipe.epochs, job.recipe.lora_r, job.recipe.seed) == (2, 8, 7)
    assert f"{LLM}:tiny" in said(command("list"))
    assert "completed" in said(command("status", str(job.id)))
    assert f"Job {job.id} is removed." in said(command("remove", str(job.id)))
    assert store.find(job.id) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["start", "nobody", "tiny.jsonl"], "There is no model 'nobody'"),
        (["start", LLM, "tiny.jsonl", "--set", "lora_r=0"], "lora_r must be at least 1"),
        (["stop", "999"], "There is no job 999"),
        (["dance"], "there is no 'dance'"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_told_in_a_line(
    command: Command, words: list[str], told: str
) -> None:
    process = command(*words)
    text = said(process)
    assert process.returncode == 1
    assert told in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_an_interrupted_command_leaves_the_job_running(
    command: Command, registry: Registry, store: JobStore
) -> None:
    job = queue(store, registry, f"steps={FOREVER}")
    process = command("watch", str(job.id))
    wait_until(lambda: store.get(job.id).current_step)
    process.send_signal(signal.SIGINT)
    text = said(process)
    assert process.returncode == 130, text
    assert f"Job {job.id} goes on without this command" in text
    step = store.get(job.id).current_step
    wait_until(lambda: store.get(job.id).current_step > step)
    assert f"Job {job.id} is stopped" in said(command("stop", str(job.id)))
    assert store.get(job.id).status is JobState.STOPPED
    text = said(command("resume", str(job.id), "--detach"))
    assert f"Job {job.id} is initializing" in text
    wait_until(lambda: store.get(job.id).status is JobState.RUNNING)
    store.request_stop(job.id)
    wait_until(lambda: store.get(job.id).status is JobState.STOPPED)


def test_a_job_that_fails_is_told_of(command: Command, registry: Registry, store: JobStore) -> None:
    job = queue(store, registry, f"fault={Fault.RAISE}")
    process = command("watch", str(job.id))
    text = said(process)
    assert process.returncode == 1
    assert f"job {job.id} has failed. The trainer ended with exit code 1" in text
    wait_until(lambda: store.get(job.id).status in ENDED)
    assert TrainerProcess.found(JobFolder(registry.root, job.id)) is None
