"""Requests on their way through the engine: to the right kind of model, and in time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from fakes.engines import EngineMaker
from fakes.waiting import until
from serving import EMBEDDER, LLM

from npu_jupyter.engine.engine import Engine
from npu_jupyter.engine.messages import Sampling
from npu_jupyter.engine.stream import (
    Caller,
    GenerateRequest,
    LoadingModel,
    Running,
    StreamEvent,
    Text,
    Waiting,
)
from npu_jupyter.errors import DeadlineExceeded, InvalidRequest, ModelNotFound, RateLimited

pytestmark = pytest.mark.asyncio

ADA, BOB = Caller("ada"), Caller("bob")
FOREVER = 100_000


def asked(words: int = 3, **fields: Any) -> GenerateRequest:
    return GenerateRequest(Sampling(max_tokens=words), prompts=["count"], **fields)


async def run(engine: Engine, request: GenerateRequest, caller: Caller = ADA) -> list[StreamEvent]:
    async with aclosing(engine.generate(LLM, request, caller)) as events:
        return [event async for event in events]


async def begin(engine: Engine, caller: Caller = ADA, **fields: Any) -> Any:
    """Start an endless answer and give its iterator, which is to be closed."""
    events = engine.generate(LLM, asked(FOREVER, **fields), caller)
    async for event in events:
        if isinstance(event, Text):
            break
    return events


async def test_a_request_says_what_it_waits_for_then_runs_then_speaks(
    fake_engine: EngineMaker,
) -> None:
    async with fake_engine() as engine:
        events = await run(engine, asked())
        kinds = [type(event) for event in events]
        assert kinds[0] is LoadingModel
        assert kinds.count(Running) == 1
        # Steps that came while nobody read are one piece.
        texts = [event for event in events[kinds.index(Running) + 1 :] if isinstance(event, Text)]
        assert texts == events[kinds.index(Running) + 1 :]
        assert sum(delta.tokens for text in texts for delta in text.deltas) == 3
        again = await run(engine, asked())
        assert isinstance(again[0], Running)
        assert again[0].device == "CPU"


@pytest.mark.parametrize("model", [EMBEDDER, "no-such-model", "../../etc/passwd", ""])
async def test_a_chat_with_what_is_no_chat_model(fake_engine: EngineMaker, model: str) -> None:
    async with fake_engine() as engine:
        with pytest.raises((InvalidRequest, ModelNotFound)) as caught:
            await anext(engine.generate(model, asked(), ADA))
        assert caught.value.param == "model"
        assert engine.status() == []


async def test_embeddings_of_what_is_no_embedding_model(fake_engine: EngineMaker) -> None:
    async with fake_engine() as engine:
        with pytest.raises(InvalidRequest, match="/v1/chat/completions"):
            await engine.embed(LLM, ["a"], ADA)
        vectors = await engine.embed(EMBEDDER, ["a", "b"], ADA)
        assert (len(vectors.data), vectors.length, vectors.prompt_tokens) == (16, 2, 2)


async def test_the_place_in_line_falls_as_others_finish(fake_engine: EngineMaker) -> None:
    async with fake_engine(max_running=1) as engine:
        first, second = await begin(engine), None
        lane = engine.pool.get(LLM).lane
        second = asyncio.create_task(run(engine, asked(FOREVER), BOB))
        await until(lambda: lane.waiting == 1)
        third = engine.generate(LLM, asked(), ADA)
        assert await anext(third) == Waiting(2, 2)
        await first.aclose()
        await until(lambda: lane.waiting == 1)
        places = {event.position async for event in _until_running(third, second)}
        assert places <= {1}


async def _until_running(events: Any, ahead: asyncio.Task[Any]) -> Any:
    async for event in events:
        if isinstance(event, Waiting):
            yield event
            ahead.cancel()


async def test_a_request_that_was_left_gives_its_place_up(fake_engine: EngineMaker) -> None:
    async with fake_engine(max_running=1, max_waiting_per_caller=1) as engine:
        first = await begin(engine)
        lane = engine.pool.get(LLM).lane
        in_line = asyncio.create_task(run(engine, asked()))
        await until(lambda: lane.waiting == 1)
        with pytest.raises(RateLimited):
            await run(engine, asked())
        in_line.cancel()
        await until(lambda: lane.waiting == 0)
        in_line = asyncio.create_task(run(engine, asked()))
        await first.aclose()
        assert isinstance((await in_line)[-1], Text)
        assert (lane.running, lane.waiting) == (0, 0)


async def test_choices_take_places_of_their_own(fake_engine: EngineMaker) -> None:
    async with fake_engine(max_running=4) as engine:
        running = await begin(engine, n=3)
        lane = engine.pool.get(LLM).lane
        two = asyncio.create_task(run(engine, asked(n=2)))
        await until(lambda: lane.waiting == 1)
        await running.aclose()
        await two


@pytest.mark.parametrize(
    ("worker", "says"),
    [({"fault": "hang_loading"}, "loading"), ({}, "waiting line")],
)
async def test_time_spent_waiting_counts(
    fake_engine: EngineMaker, worker: dict[str, str], says: str
) -> None:
    async with fake_engine(worker, max_running=1) as engine:
        if not worker:
            running = await begin(engine)
        engine.request_timeout_s = 0.2
        with pytest.raises(DeadlineExceeded, match=says):
            await run(engine, asked())
        if not worker:
            assert engine.pool.get(LLM).lane.waiting == 0
            await running.aclose()


async def test_no_limit_is_no_limit(fake_engine: EngineMaker) -> None:
    async with fake_engine(request_timeout_s=0) as engine:
        assert isinstance((await run(engine, asked()))[-1], Text)


async def test_the_engine_is_busy_while_it_loads_and_runs(fake_engine: EngineMaker) -> None:
    async with fake_engine({"load_s": 0.2}) as engine:
        assert not engine.busy
        load = asyncio.create_task(engine.load(LLM))
        await until(lambda: engine.busy)
        await load
        assert not engine.busy
        running = await begin(engine)
        assert engine.busy
        await running.aclose()
        assert not engine.busy
