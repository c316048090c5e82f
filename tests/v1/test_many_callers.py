"""Two hundred at once, as when a class of forty runs its notebook."""

from __future__ import annotations

import asyncio

import pytest
from openai import AsyncOpenAI
from serving import EMBEDDER, LLM, Server


@pytest.mark.asyncio(loop_scope="session")
async def test_two_hundred_callers_are_all_answered(server: Server) -> None:
    async with AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key=server.token, max_retries=0, timeout=280
    ) as client:

        async def chat(number: int) -> str:
            messages = [{"role": "user", "content": f"Say {number}."}]
            stream = await client.chat.completions.create(
                model=LLM,
                messages=messages,  # type: ignore[arg-type]
                max_tokens=4,
                stream=True,
            )
            chunks = [chunk async for chunk in stream]
            assert chunks[-1].choices[0].finish_reason in {"stop", "length"}
            return chunks[0].id

        async def embed(number: int) -> str:
            answer = await client.embeddings.create(model=EMBEDDER, input=f"Number {number}.")
            assert len(answer.data[0].embedding) == 384
            return f"embedding {number}"

        ids = await asyncio.gather(
            *(chat(number) for number in range(160)), *(embed(number) for number in range(40))
        )
    assert len(set(ids)) == 200
