"""Which models are in memory: loaded once, unloaded in order, and never in the way of others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import psutil
import pytest
from fakes.engines import EngineMaker
from fakes.waiting import until
from serving import EMBEDDER, LLM

from npu_jupyter.engine.engine import Engine
from npu_jupyter.engine.memory import estimate_bytes
from npu_jupyter.engine.messages import Sampling
from npu_jupyter.engine.model import ModelStatus
from npu_jupyter.engine.stream import Caller, GenerateRequest, LoadingModel, Text
from npu_jupyter.errors import (
    InsufficientMemory,
    LoadFailed,
    ModelNotFound,
    ModelUnloaded,
    NpuError,
    WorkerDied,
)

pytestmark = pytest.mark.asyncio

ADA = Caller("ada")
FOREVER = 100_000
MIB = 2**20
WORKER_MIB = 300


def asked(words: int = 3, prompt: str = "count") -> GenerateRequest:
    return GenerateRequest(Sampling(max_tokens=words), prompts=[prompt])


async def answer(engine: Engine, request: GenerateRequest, model: str = LLM) -> str:
    async with aclosing(engine.generate(model, request, ADA)) as events:
        texts = [event async for event in events if isinstance(event, Text)]
    return "".join(delta.text for text in texts for delta in text.deltas)


async def worker_pid(engine: Engine) -> int:
    facts: dict[str, Any] = json.loads(await answer(engine, asked(prompt="report")))
    return int(facts["pid"])


@asynccontextmanager
async def in_mid_answer(engine: Engine, words: int = FOREVER) -> AsyncGenerator[asyncio.Task[str]]:
    """Have a request running that has its first words."""
    begun = asyncio.Event()

    async def run() -> str:
        text = ""
        async with aclosing(engine.generate(LLM, asked(words), ADA)) as events:
            async for event in events:
                if isinstance(event, Text):
                    text += "".join(delta.text for delta in event.deltas)
                    begun.set()
        return text

    task = asyncio.create_task(run())
    begin = asyncio.create_task(begun.wait())
    await asyncio.wait([task, begin], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, NpuError):
            await task


def workers() -> list[psutil.Process]:
    """List the worker processes of this test."""
    children = psutil.Process(os.getpid()).children(recursive=True)
    found = []
    for child in children:
        with contextlib.suppress(psutil.Error):
            if "fake_worker" in child.cmdline():
                found.append(child)
    return found


async def all_ended(processes: list[psutil.Process]) -> None:
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout=60)
    assert alive == []


# Loading


async def test_many_first_requests_load_a_model_once(fake_engine: EngineMaker) -> None:
    async with fake_engine({"load_s": 0.3}) as engine:
        pids = await asyncio.gather(*(worker_pid(engine) for _ in range(8)))
        assert len(set(pids)) == 1
        assert len(workers()) == 1


async def test_who_waits_for_a_load_is_told_its_stages(fake_engine: EngineMaker) -> None:
    async with fake_engine({"load_s": 0.7}) as engine:
        seen = [
            event.stage
            async for event in engine.generate(LLM, asked(), ADA)
            if isinstance(event, LoadingModel)
        ]
        assert seen[0] == "find"
        assert "compile" in seen


async def test_the_second_load_of_a_model_knows_how_long_it_takes(
    fake_engine: EngineMaker,
) -> None:
    async with fake_engine({"load_s": 0.7}) as engine:
        await engine.load(LLM)
        await engine.unload(LLM)
        etas = [
            event.eta_s
            async for event in engine.load_events(LLM)
            if isinstance(event, LoadingModel) and event.stage == "compile"
        ]
        assert etas
        assert all(eta is not None for eta in etas)


async def test_a_load_is_told_to_all_who_watch_the_engine(fake_engine: EngineMaker) -> None:
    async with fake_engine() as engine:
        watch = engine.events.subscribe()
        first = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await engine.load(LLM)
        events = [await first]
        while events[-1]["event"] == "model.loading":
            events.append(await anext(watch))
        await watch.aclose()
    assert [event.get("stage") for event in events] == [
        "find",
        "read",
        "compile",
        "warm_up",
        None,
    ]
    assert events[-1]["event"] == "model.loaded"
    assert {event["model"] for event in events} == {LLM}


async def test_a_load_that_fails_fails_all_who_wait_and_is_tried_again(
    fake_engine: EngineMaker,
) -> None:
    async with fake_engine({"fault": "refuse"}) as engine:
        results = await asyncio.gather(
            *(answer(engine, asked()) for _ in range(4)), return_exceptions=True
        )
        assert [type(result) for result in results] == [LoadFailed] * 4
        assert engine.pool.model_status(LLM) == (ModelStatus.FAILED, None)
        assert "bent" in engine.pool.failures[LLM]
        engine.pool.launcher.device_properties = {}
        assert await answer(engine, asked()) == "0 1 2 "
        assert engine.pool.failures == {}


@pytest.mark.parametrize("fault", ["die_loading", "die_loaded"])
async def test_a_worker_that_dies_around_its_load_is_not_started_without_end(
    fake_engine: EngineMaker, fault: str
) -> None:
    async with fake_engine({"fault": fault}) as engine:
        with pytest.raises((LoadFailed, WorkerDied)):
            await answer(engine, asked(FOREVER))
        assert engine.status() == []


async def test_a_model_whose_files_are_gone_says_so(fake_engine: EngineMaker) -> None:
    async with fake_engine() as engine:
        record = engine.registry.get(LLM)
        hidden = record.path.with_suffix(".hidden")
        record.path.rename(hidden)
        try:
            with pytest.raises(LoadFailed, match=r"are gone from .* pull it again"):
                await engine.load(LLM)
        finally:
            hidden.rename(record.path)
        assert (await engine.load(LLM)).status is ModelStatus.LOADED


# A worker that dies


async def test_the_next_request_after_a_death_starts_a_new_worker(
    fake_engine: EngineMaker,
) -> None:
    async with fake_engine() as engine:
        first = await worker_pid(engine)
        async with in_mid_answer(engine) as running:
            psutil.Process(first).kill()
            with pytest.raises(WorkerDied):
                await running
        assert await worker_pid(engine) != first


async def test_who_was_in_line_when_the_worker_died_is_served_by_the_next(
    fake_engine: EngineMaker,
) -> None:
    async with fake_engine(max_running=1) as engine, in_mid_answer(engine):
        waiting = asyncio.create_task(answer(engine, asked()))
        await until(lambda: engine.pool.get(LLM).lane.waiting)
        psutil.Process(engine.pool.get(LLM).runner.pid).kill()
        assert await waiting == "0 1 2 "


# Unloading


async def test_an_answer_is_finished_before_its_model_goes(fake_engine: EngineMaker) -> None:
    async with fake_engine() as engine, in_mid_answer(engine, words=60) as running:
        await engine.unload(LLM)
        assert running.done()
        assert (await running).split() == [str(i) for i in range(60)]
        assert engine.status() == []
        await all_ended(workers())


@pytest.mark.parametrize(("grace_s", "force"), [(0.3, False), (600, True)])
async def test_an_answer_that_is_not_finished_in_time_is_ended_with_words(
    fake_engine: EngineMaker, grace_s: float, force: bool
) -> None:
    async with fake_engine(unload_grace_s=grace_s) as engine, in_mid_answer(engine) as running:
        await engine.unload(LLM, force=force)
        with pytest.raises(ModelUnloaded):
            await running
        await all_ended(workers())


async def test_force_ends_an_unload_that_waits(fake_engine: EngineMaker) -> None:
    async with fake_engine(unload_grace_s=600) as engine, in_mid_answer(engine) as running:
        unload = asyncio.create_task(engine.unload(LLM))
        await until(lambda: engine.pool.model_status(LLM)[0] is ModelStatus.UNLOADING)
        await engine.unload(LLM, force=True)
        with pytest.raises(ModelUnloaded):
            await running
        await unload
        assert engine.status() == []


async def test_a_request_during_an_unload_gets_a_new_worker(fake_engine: EngineMaker) -> None:
    async with fake_engine(unload_grace_s=600) as engine, in_mid_answer(engine):
        (leaving,) = workers()
        unload = asyncio.create_task(engine.unload(LLM))
        await until(lambda: engine.pool.model_status(LLM)[0] is ModelStatus.UNLOADING)
        assert await worker_pid(engine) != leaving.pid
        states = sorted(model.status for model in engine.status())
        assert states == [ModelStatus.LOADED, ModelStatus.UNLOADING]
        unload.cancel()


async def test_who_was_in_line_when_a_model_was_unloaded_is_served_by_the_next(
    fake_engine: EngineMaker,
) -> None:
    async with fake_engine(max_running=1) as engine, in_mid_answer(engine):
        waiting = asyncio.create_task(answer(engine, asked()))
        await until(lambda: engine.pool.get(LLM).lane.waiting)
        await engine.unload(LLM, force=True)
        assert await waiting == "0 1 2 "


async def test_an_unload_goes_on_when_who_asked_for_it_leaves(fake_engine: EngineMaker) -> None:
    async with fake_engine() as engine, in_mid_answer(engine, words=100) as running:
        leaving = workers()
        unload = asyncio.create_task(engine.unload(LLM))
        await until(lambda: engine.pool.model_status(LLM)[0] is ModelStatus.UNLOADING)
        unload.cancel()
        assert len((await running).split()) == 100
        await all_ended(leaving)
        await until_unloaded(engine)


async def test_unloading_a_model_that_loads_ends_the_load(fake_engine: EngineMaker) -> None:
    async with fake_engine({"fault": "hang_loading"}) as engine:
        waiting = asyncio.create_task(answer(engine, asked()))
        await until(workers)
        loading = workers()
        await engine.unload(LLM)
        with pytest.raises(ModelUnloaded):
            await waiting
        await all_ended(loading)
        assert engine.pool.model_status(LLM) == (ModelStatus.REGISTERED, None)


@pytest.mark.parametrize("name", [LLM, "no-such-model"])
async def test_unloading_what_is_not_loaded_says_so(fake_engine: EngineMaker, name: str) -> None:
    async with fake_engine() as engine:
        with pytest.raises(ModelNotFound):
            await engine.unload(name)


async def test_closing_the_engine_ends_every_worker(fake_engine: EngineMaker) -> None:
    async with fake_engine() as engine:
        async with in_mid_answer(engine) as running:
            await engine.load(EMBEDDER)
            processes = workers()
            assert len(processes) == 2
            await engine.close()
            with pytest.raises(ModelUnloaded):
                await running
        await all_ended(processes)


async def test_closing_the_engine_ends_loads_too(fake_engine: EngineMaker) -> None:
    async with fake_engine({"fault": "hang_loading"}) as engine:
        load = asyncio.create_task(engine.load(LLM))
        await until(workers)
        processes = workers()
        await engine.close()
        await all_ended(processes)
        with pytest.raises(ModelUnloaded):
            await load


# Keeping alive


async def until_unloaded(engine: Engine) -> None:
    await until(lambda: not engine.status())


async def test_a_model_that_nobody_uses_sleeps_and_the_next_request_wakes_it(
    fake_engine: EngineMaker,
) -> None:
    async with fake_engine(keep_alive_s=0.3) as engine:
        first = await worker_pid(engine)
        await until_unloaded(engine)
        assert engine.pool.model_status(LLM)[0] is ModelStatus.SLEEPING
        await all_ended(workers())
        assert await worker_pid(engine) != first


async def test_a_model_in_use_does_not_sleep(fake_engine: EngineMaker) -> None:
    async with fake_engine(keep_alive_s=0.2) as engine:
        async with in_mid_answer(engine, words=150) as running:
            assert len((await running).split()) == 150
        await until_unloaded(engine)


async def test_a_pinned_model_stays_until_it_is_unpinned(fake_engine: EngineMaker) -> None:
    async with fake_engine(keep_alive_s=0.2) as engine:
        loaded = await engine.load(LLM, pin=True)
        assert loaded.pinned
        await asyncio.sleep(0.6)
        assert [model.name for model in engine.status()] == [LLM]
        await engine.load(LLM, pin=False)
        await until_unloaded(engine)


async def test_who_loads_a_model_says_how_long_it_stays(fake_engine: EngineMaker) -> None:
    async with fake_engine(keep_alive_s=0.2) as engine:
        await engine.load(LLM, keep_alive_s=0)
        await asyncio.sleep(0.6)
        assert [model.keep_alive_s for model in engine.status()] == [0]
        again = await engine.load(LLM, keep_alive_s=0.1)
        assert again.already_loaded
        await until_unloaded(engine)


# Memory


def budget_for_one(engine: Engine) -> int:
    """Give the MiB in which either of the demo models has room, and not both."""
    return max(estimate_bytes(engine.registry.get(name)) for name in (LLM, EMBEDDER)) // MIB + 1


async def test_a_new_model_takes_the_room_of_an_idle_one(fake_engine: EngineMaker) -> None:
    async with fake_engine({"takes_mib": WORKER_MIB}) as engine:
        engine.pool.memory_budget_mib = budget_for_one(engine)
        await engine.load(LLM)
        await engine.load(EMBEDDER)
        assert [model.name for model in engine.status()] == [EMBEDDER]
        assert engine.pool.model_status(LLM)[0] is ModelStatus.SLEEPING
        assert await answer(engine, asked()) == "0 1 2 "
        assert [model.name for model in engine.status()] == [LLM]


async def test_a_busy_model_is_never_evicted(fake_engine: EngineMaker) -> None:
    async with fake_engine({"takes_mib": WORKER_MIB}) as engine:
        engine.pool.memory_budget_mib = budget_for_one(engine)
        async with in_mid_answer(engine, words=200) as running:
            with pytest.raises(InsufficientMemory, match=f"In use or pinned: {LLM}") as caught:
                await engine.load(EMBEDDER)
            assert caught.value.retry_after_s
            assert len((await running).split()) == 200
        await engine.load(EMBEDDER)


async def test_a_pinned_model_is_never_evicted(fake_engine: EngineMaker) -> None:
    async with fake_engine({"takes_mib": WORKER_MIB}) as engine:
        engine.pool.memory_budget_mib = budget_for_one(engine)
        await engine.load(LLM, pin=True)
        with pytest.raises(InsufficientMemory, match=f"In use or pinned: {LLM}"):
            await engine.load(EMBEDDER)
        assert [model.name for model in engine.status()] == [LLM]


async def test_a_model_that_can_never_fit_evicts_nobody(fake_engine: EngineMaker) -> None:
    async with fake_engine({"takes_mib": WORKER_MIB}) as engine:
        await engine.load(EMBEDDER)
        engine.pool.memory_budget_mib = estimate_bytes(engine.registry.get(LLM)) // MIB - 1
        with pytest.raises(InsufficientMemory, match="MiB are free") as caught:
            await engine.load(LLM)
        assert [model.name for model in engine.status()] == [EMBEDDER]
        assert not caught.value.retryable


async def test_two_loads_at_once_do_not_take_the_same_room(fake_engine: EngineMaker) -> None:
    async with fake_engine({"takes_mib": WORKER_MIB, "load_s": 0.3}) as engine:
        engine.pool.memory_budget_mib = budget_for_one(engine)
        loads = [asyncio.create_task(engine.load(name)) for name in (LLM, EMBEDDER)]
        await until(workers)
        assert len(workers()) == 1
        await asyncio.gather(*loads)
        assert len(engine.status()) == 1
        await until(lambda: len(workers()) == 1)
