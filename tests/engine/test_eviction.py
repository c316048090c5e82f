"""Models that go by themselves: unused for long, or in the way of another."""

from __future__ import annotations

import asyncio

import pytest
from fakes.asking import all_ended, answer, asked, in_mid_answer, worker_pid, workers
from fakes.engines import EngineMaker
from fakes.waiting import until
from serving import EMBEDDER, LLM

from npu_jupyter.engine.engine import Engine
from npu_jupyter.engine.memory import estimate_bytes
from npu_jupyter.engine.model import ModelStatus
from npu_jupyter.errors import InsufficientMemory

pytestmark = pytest.mark.asyncio

MIB = 2**20
WORKER_MIB = 300


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
