"""One worker process: its answers, its death at every moment, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from npu_jupyter.engine.messages import Delta, Finished, Generate, Load, Output, Sampling
from npu_jupyter.engine.runner import Runner
from npu_jupyter.errors import DeadlineExceeded, LoadFailed, ModelUnloaded, WorkerDied

pytestmark = pytest.mark.asyncio

FAKES = Path(__file__).parents[1] / "fakes"
LONG_S = 60.0
FOREVER = 100_000


@pytest.fixture(autouse=True)
def _fakes_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKES))


def make_runner(folder: Path, **properties: Any) -> Runner:
    load = Load("fake", "llm", "nowhere", "CPU", properties=properties)
    log = logging.getLogger("test_runner")
    return Runner(load, module="fake_worker", log_path=folder / "worker.log", log=log)


@asynccontextmanager
async def running(folder: Path, **properties: Any) -> AsyncGenerator[Runner]:
    runner = make_runner(folder, **properties)
    await runner.start()
    try:
        yield runner
    finally:
        await runner.stop()


def request(words: int = 8, prompt: str = "count") -> Generate:
    return Generate(id=0, sampling=Sampling(max_tokens=words), prompts=[prompt])


async def answer(runner: Runner, asked: Generate, timeout_s: float = LONG_S) -> list[Output]:
    return [output async for step in runner.run(asked, timeout_s) for output in step]


def text_of(outputs: list[Output]) -> str:
    return "".join(output.text for output in outputs if isinstance(output, Delta))


async def report(runner: Runner) -> dict[str, Any]:
    """Ask the worker what it knows of its requests."""
    facts: dict[str, Any] = json.loads(text_of(await answer(runner, request(prompt="report"))))
    return facts


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that may have ended already."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(LONG_S)


async def until_gone(pid: int) -> None:
    """Wait until a process is over; the test's own limit ends the wait."""
    await asyncio.to_thread(wait_until_gone, pid)


async def test_an_answer_comes_step_by_step_and_ends(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        steps = [step async for step in runner.run(request(4), LONG_S)]
    assert len(steps) > 2
    outputs = [output for step in steps for output in step]
    assert text_of(outputs) == "0 1 2 3 "
    assert isinstance(outputs[-1], Finished)


async def test_requests_at_once_do_not_mix(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        asked = [answer(runner, request(words)) for words in range(1, 20)]
        texts = [text_of(outputs) for outputs in await asyncio.gather(*asked)]
    assert texts == ["".join(f"{i} " for i in range(words)) for words in range(1, 20)]


async def test_the_stages_of_a_load_are_told(tmp_path: Path) -> None:
    runner = make_runner(tmp_path)
    stages: list[str] = []
    runner.on_stage = stages.append
    loaded = await runner.start()
    await runner.stop()
    assert stages == ["read", "compile", "warm_up"]
    assert (loaded.device, loaded.context_length) == ("CPU", 2048)


async def test_leaving_an_answer_cancels_it_in_the_worker(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        async with aclosing(runner.run(request(FOREVER), LONG_S)) as steps:
            await anext(steps)
            (request_id,) = (await report(runner))["running"]
        facts = await report(runner)
    assert facts["running"] == []
    assert facts["cancelled"] == [request_id]


async def test_an_answer_that_ended_is_not_cancelled(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        await answer(runner, request(2))
        assert (await report(runner))["cancelled"] == []


async def test_a_worker_that_ignores_a_cancel_harms_nobody_else(tmp_path: Path) -> None:
    async with running(tmp_path, fault="deaf") as runner:
        async with aclosing(runner.run(request(FOREVER), LONG_S)) as steps:
            await anext(steps)
        assert text_of(await answer(runner, request(3))) == "0 1 2 "


async def test_a_request_ends_at_its_deadline_in_the_worker_too(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        with pytest.raises(DeadlineExceeded):
            await answer(runner, request(FOREVER), timeout_s=0.2)
        facts = await report(runner)
    assert facts["running"] == []
    assert len(facts["cancelled"]) == 1


async def test_the_deadline_holds_for_a_reader_who_comes_late(tmp_path: Path) -> None:
    async with running(tmp_path) as runner, aclosing(runner.run(request(FOREVER), 0.2)) as steps:
        await anext(steps)
        await asyncio.sleep(0.5)  # the deadline passes, and more words arrive after it
        with pytest.raises(DeadlineExceeded):
            async for _ in steps:
                pass


async def test_a_worker_that_dies_fails_all_its_requests_and_says_so_once(tmp_path: Path) -> None:
    runner = make_runner(tmp_path)
    died = asyncio.Event()
    runner.on_exit = died.set
    await runner.start()
    asked = [asyncio.create_task(answer(runner, request(FOREVER))) for _ in range(3)]
    while len((await report(runner))["running"]) < 3:
        pass
    psutil.Process(runner.pid).kill()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [WorkerDied] * 3
    await died.wait()
    with pytest.raises(WorkerDied):
        await answer(runner, request())
    await runner.stop()


async def test_text_from_before_the_death_is_not_lost(tmp_path: Path) -> None:
    seen: list[Output] = []
    async with running(tmp_path, fault="die_answering") as runner:
        with contextlib.suppress(WorkerDied):
            async for step in runner.run(request(), LONG_S):
                seen += step
    assert text_of(seen) == "0 1 2 "


@pytest.mark.parametrize(
    ("fault", "says"),
    [("refuse", "these weights are bent"), ("die_loading", "ended with code 9")],
)
async def test_a_load_that_fails_says_why(tmp_path: Path, fault: str, says: str) -> None:
    runner = make_runner(tmp_path, fault=fault)
    with pytest.raises(LoadFailed, match=says):
        await runner.start()
    await runner.stop()
    await until_gone(runner.pid)


async def test_a_module_that_is_not_there_says_so(tmp_path: Path) -> None:
    load = Load("fake", "llm", "nowhere", "CPU")
    log = logging.getLogger("test_runner")
    runner = Runner(load, module="no_such_worker", log_path=tmp_path / "w.log", log=log)
    with pytest.raises(LoadFailed, match="ended with code 1"):
        await runner.start()
    assert "no_such_worker" in (tmp_path / "w.log").read_text("utf-8")


async def test_a_load_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, fault="hang_loading")
    compiling = asyncio.Event()
    runner.on_stage = lambda stage: compiling.set() if stage == "compile" else None
    start = asyncio.create_task(runner.start())
    await compiling.wait()
    start.cancel()
    await asyncio.wait([start])
    await runner.stop()
    await until_gone(runner.pid)


async def test_stopping_ends_the_process_and_its_requests(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        asked = asyncio.create_task(answer(runner, request(FOREVER)))
        while not (await report(runner))["running"]:
            pass
        await runner.stop()
        with pytest.raises(ModelUnloaded):
            await asked
        await until_gone(runner.pid)
        await runner.stop()  # once more is no harm


async def test_a_worker_that_does_not_go_is_made_to(tmp_path: Path) -> None:
    async with running(tmp_path, fault="stay") as runner:
        pid = runner.pid
    await until_gone(pid)


async def test_secrets_are_not_among_the_arguments(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        arguments = psutil.Process(runner.pid).cmdline()
    assert arguments[1:] == ["-P", "-m", "fake_worker"]


async def test_keys_of_the_server_do_not_reach_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_TOKEN", "of-the-server")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of-the-hub")
    async with running(tmp_path) as runner:
        environment = psutil.Process(runner.pid).environ()
    assert not {"JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN"} & environment.keys()
