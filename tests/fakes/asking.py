"""Requests to an engine in the test's own process, whose workers are fake."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import psutil
from serving import LLM

from npu_jupyter.engine.engine import Engine
from npu_jupyter.engine.messages import Sampling
from npu_jupyter.engine.stream import Caller, GenerateRequest, Text
from npu_jupyter.errors import NpuError

ADA = Caller("ada")
FOREVER = 100_000


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
