"""Which models are in memory: loaded once, given up when they die, unloaded in order."""

from __future__ import annotations

import asyncio

import psutil
import pytest
from fakes.asking import ADA, FOREVER, all_ended, answer, asked, in_mid_answer, worker_pid, workers
from fakes.engines import EngineMaker
from fakes.waiting import until
from serving import EMBEDDER, LLM

from npu_jupyter.engine.model import ModelStatus
from npu_jupyter.engine.stream import LoadingModel
from npu_jupyter.errors import LoadFailed, ModelNotFound, ModelUnloaded, WorkerDied

pytestmark = pytest.mark.asyncio


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
        await until(lambda: not engine.status())


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
