"""What a supervisor makes of trainers that end well, badly, not at all, or of another server."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from fakes.fake_trainer import FOREVER, Fault
from fakes.waiting import wait_until
from finetune.conftest import Supervising, queue

from npu_jupyter.errors import Conflict
from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.records import ACTIVE, ENDED, EventKind, JobRecord, JobState
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.supervisor import Supervisor
from npu_jupyter.finetune.trainer_process import has_trainer
from npu_jupyter.registry.store import Registry


def until_ended(supervisor: Supervisor, store: JobStore, job: JobRecord) -> JobRecord:
    """Supervise until a job has ended."""
    while store.get(job.id).status not in ENDED:
        supervisor.look()
        time.sleep(0.05)
    return store.get(job.id)


def trainers() -> list[psutil.Process]:
    """List the fake trainers, and what they started."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE
        and any(word in " ".join(process.cmdline()) for word in ("fake_trainer", "sleep(600)"))
    ]


def until_training(supervisor: Supervisor, store: JobStore, job: JobRecord) -> psutil.Process:
    """Supervise until a job has done a step; give its trainer."""
    supervisor.look()
    wait_until(lambda: store.get(job.id).current_step)
    (trainer,) = trainers()
    return trainer


def test_a_job_runs_in_a_process_group_of_its_own_at_low_priority(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    job = queue(store, registry, f"steps={FOREVER}")
    supervisor = supervising()
    trainer = until_training(supervisor, store, job)
    assert trainer.nice() == 10
    assert trainer.environ()["OMP_WAIT_POLICY"] == "PASSIVE"
    assert supervisor.busy
    store.request_stop(job.id)
    assert until_ended(supervisor, store, job).status is JobState.STOPPED


def test_jobs_run_one_after_the_other(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    first, second = queue(store, registry), queue(store, registry)
    supervisor = supervising()
    supervisor.look()
    assert [store.get(job.id).status in ACTIVE for job in (first, second)] == [True, False]
    ended = until_ended(supervisor, store, second)
    assert ended.status is JobState.COMPLETED, ended.error
    done = store.get(first.id)
    assert done.status is JobState.COMPLETED
    assert done.resulting_model == first.resulting_name
    assert [event.data["loss"] for event in store.events(first.id, kinds={EventKind.METRIC})] == [
        1,
        1 / 2,
        1 / 3,
    ]
    while supervisor.busy or trainers():
        supervisor.look()
    assert not JobFolder(registry.root, first.id).process.exists()


def test_two_servers_run_each_job_once(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    jobs = [queue(store, registry, "steps=1") for _ in range(4)]
    supervisors = [supervising(max_running_jobs=2) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        while any(store.get(job.id).status not in ENDED for job in jobs):
            list(pool.map(Supervisor.look, supervisors))
            assert len(store.jobs(states=ACTIVE)) <= 2
    for job in jobs:
        assert store.get(job.id).status is JobState.COMPLETED
        assert store.get(job.id).attempts == 1
        assert len(store.events(job.id, kinds={EventKind.METRIC})) == 1


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault.KILLED_AT_START, "was killed; if nobody did that, the machine ran out of memory"),
        (Fault.KILLED, "was killed; if nobody did that, the machine ran out of memory"),
        (Fault.NO_MEMORY, "ran out of memory: MemoryError: Unable to allocate 9.31 GiB"),
        (Fault.NO_SPACE, "filled the disk: OSError: [Errno 28] No space left on device"),
        (Fault.RAISE, "ended with exit code 1. Its last words: RuntimeError: the loss is no num"),
        (Fault.TELL, "The loss became NaN at step 3."),
    ],
)
def test_a_trainer_that_dies_is_told_of_truthfully(
    registry: Registry, store: JobStore, supervising: Supervising, fault: Fault, told: str
) -> None:
    job = queue(store, registry, f"fault={fault}")
    ended = until_ended(supervising(), store, job)
    assert ended.status is JobState.FAILED
    assert ended.error is not None
    assert told in ended.error
    said_by_itself = fault in {Fault.TELL, Fault.KILLED_AT_START}
    assert ("checkpoint of step 2 is kept" in ended.error) != said_by_itself
    assert store.events(job.id)[-1].data["error"] == ended.error


@pytest.mark.parametrize("fault", [Fault.KILLED_AT_START, Fault.KILLED])
def test_a_lost_job_goes_on_by_itself_if_told_to(
    registry: Registry, store: JobStore, supervising: Supervising, fault: Fault
) -> None:
    job = queue(store, registry, f"steps=5 fault={fault}")
    ended = until_ended(supervising(resume_automatically=True), store, job)
    assert ended.status is JobState.COMPLETED
    assert ended.attempts == 2
    steps = [event.data["step"] for event in store.events(job.id, kinds={EventKind.METRIC})]
    assert steps == ([1, 2, 3, 3, 4, 5] if fault is Fault.KILLED else [1, 2, 3, 4, 5])
    (log,) = store.events(job.id, kinds={EventKind.LOG})
    assert "was killed" in log.data["message"]


def test_a_job_that_kills_every_trainer_ends(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    job = queue(store, registry)
    module = "no_such_module"
    ended = until_ended(supervising(resume_automatically=True, trainer_module=module), store, job)
    assert ended.status is JobState.FAILED
    assert ended.attempts == 5
    assert "No module named no_such_module" in (ended.error or "")


def test_a_failed_job_is_resumed(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    job = queue(store, registry, f"steps=4 fault={Fault.RAISE}")
    supervisor = supervising()
    assert until_ended(supervisor, store, job).status is JobState.FAILED
    store.request_resume(job.id)
    ended = until_ended(supervisor, store, job)
    assert ended.status is JobState.COMPLETED
    assert ended.error is None
    steps = [event.data["step"] for event in store.events(job.id, kinds={EventKind.METRIC})]
    assert steps == [1, 2, 3, 3, 4]


def test_a_trainer_that_does_not_stop_is_ended_with_all_that_it_started(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    job = queue(store, registry, f"steps={FOREVER} fault={Fault.DEAF}")
    supervisor = supervising(stop_grace_s=0.2)
    trainer = until_training(supervisor, store, job)
    wait_until(lambda: store.get(job.id).current_step > 2)
    store.request_stop(job.id)
    ended = until_ended(supervisor, store, job)
    assert ended.status is JobState.STOPPED
    assert "checkpoint of step 2 is kept" in (ended.error or "")
    assert not trainer.is_running()


def test_a_trainer_that_stays_after_its_job_is_ended(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    job = queue(store, registry, f"steps=3 fault={Fault.STAY}")
    supervisor = supervising()
    assert until_ended(supervisor, store, job).status is JobState.COMPLETED
    assert len(trainers()) == 2
    supervisor.remove(job.id)
    assert not trainers()
    assert not JobFolder(registry.root, job.id).path.exists()
    assert store.find(job.id) is None
    assert store.events(job.id) == []


def test_another_server_finds_a_trainer_that_runs_and_leaves_it(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    job = queue(store, registry, f"steps={FOREVER}")
    trainer = until_training(supervising(), store, job)
    successor = supervising()
    successor.look()
    step = store.get(job.id).current_step
    wait_until(lambda: store.get(job.id).current_step > step)
    assert trainers() == [trainer]
    store.request_stop(job.id)
    ended = until_ended(successor, store, job)
    assert ended.status is JobState.STOPPED
    assert ended.attempts == 1


def test_another_server_finds_that_a_trainer_has_died(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    job = queue(store, registry, f"steps={FOREVER}")
    trainer = until_training(supervising(), store, job)
    trainer.send_signal(signal.SIGKILL)
    wait_until(lambda: not has_trainer(JobFolder(registry.root, job.id)))
    ended = until_ended(supervising(), store, job)
    assert ended.status is JobState.FAILED
    assert "while no server watched it" in (ended.error or "")


def test_a_job_whose_server_died_before_its_trainer_was_there_is_begun_again(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    job = queue(store, registry, "steps=1")
    assert store.pick(1)  # and then nothing more
    ended = until_ended(supervising(), store, job)
    assert ended.status is JobState.COMPLETED
    assert ended.attempts == 2


@pytest.mark.parametrize("state", ["queued", "running", "stopping", "stopped", "completed"])
def test_stop_in_every_state(
    registry: Registry, store: JobStore, supervising: Supervising, state: str
) -> None:
    supervisor = supervising()
    job = queue(store, registry, "steps=1" if state == "completed" else f"steps={FOREVER}")
    if state == "queued":
        assert store.request_stop(job.id).status is JobState.STOPPED
        supervisor.look()
        assert not trainers()
        return
    if state == "completed":
        until_ended(supervisor, store, job)
    else:
        until_training(supervisor, store, job)
    if state in {"stopping", "stopped"}:
        store.request_stop(job.id)
    if state == "stopped":
        until_ended(supervisor, store, job)
    if state in {"stopped", "completed"}:
        with pytest.raises(Conflict, match=f"is {state}"):
            store.request_stop(job.id)
        return
    assert store.request_stop(job.id).status is JobState.STOPPING
    assert until_ended(supervisor, store, job).status is JobState.STOPPED


def test_a_job_that_is_stopped_while_its_trainer_starts(
    registry: Registry, store: JobStore, supervising: Supervising
) -> None:
    job = queue(store, registry, f"steps={FOREVER}")
    supervisor = supervising()
    supervisor.look()
    assert store.request_stop(job.id).status is JobState.STOPPING
    assert until_ended(supervisor, store, job).status is JobState.STOPPED
    assert store.get(job.id).current_step == 0
