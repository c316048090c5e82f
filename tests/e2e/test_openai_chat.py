"""OpenAI's client for Python, chats: whole, streamed, and with asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk
from serving import LLM, Server

FRANCE: Any = [{"role": "user", "content": "What is the capital of France?"}]
STORY: Any = [{"role": "user", "content": "Tell me a long story about a lighthouse."}]


def test_answer_is_right_and_its_counts_add_up(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=LLM, messages=FRANCE, temperature=0)
    choice = answer.choices[0]
    assert "Paris" in (choice.message.content or "")
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    assert answer.usage is not None
    counts = answer.usage
    assert counts.prompt_tokens > 7 < counts.completion_tokens
    assert counts.total_tokens == counts.prompt_tokens + counts.completion_tokens


def test_max_completion_tokens_cut_an_answer(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=LLM, messages=STORY, max_completion_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


def check_shape(chunks: list[ChatCompletionChunk], choice: int) -> None:
    """Hold the deltas of a choice to the order that OpenAI's clients expect."""
    mine = [part for chunk in chunks for part in chunk.choices if part.index == choice]
    opening, *middle, closing = mine
    assert opening.delta.model_dump(exclude_unset=True) == {"role": "assistant", "content": ""}
    assert middle
    for part in middle:
        assert part.delta.model_dump(exclude_unset=True).keys() == {"content"}
        assert part.finish_reason is None
    assert closing.delta.model_dump(exclude_unset=True) == {}
    assert closing.finish_reason == "length"


@pytest.mark.parametrize("with_usage", [False, True])
def test_stream_has_the_shape_that_clients_expect(client: OpenAI, with_usage: bool) -> None:
    stream = client.chat.completions.create(
        model=LLM,
        messages=STORY,
        n=2,
        max_completion_tokens=12,
        stream=True,
        stream_options={"include_usage": with_usage},
        extra_body={"ignore_eos": True},
    )
    chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    for choice in (0, 1):
        check_shape(chunks, choice)
    counts = [chunk.usage for chunk in chunks if not chunk.choices]
    assert [usage.completion_tokens for usage in counts if usage] == [24] * with_usage


def test_stream_ends_with_done(client: OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model=LLM, messages=FRANCE, max_completion_tokens=4, stream=True
    ) as reply:
        assert reply.headers["content-type"] == "text/event-stream"
        lines = [line for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith(("data: ", ":")) for line in lines)


def test_text_arrives_while_the_model_writes(client: OpenAI, bare_server: Server) -> None:
    def running() -> int:
        with bare_server.http() as http:
            loaded = http.get("/v1/models/status").json()["models"]
        return sum(model["requests_running"] for model in loaded)

    with client.chat.completions.create(
        model=LLM,
        messages=STORY,
        max_completion_tokens=600,
        stream=True,
        extra_body={"ignore_eos": True},
    ) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        assert running() == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_asyncio_callers_share_the_model(async_client: AsyncOpenAI) -> None:
    async def streamed() -> str:
        stream = await async_client.chat.completions.create(
            model=LLM, messages=FRANCE, temperature=0, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def whole() -> str | None:
        answer = await async_client.chat.completions.create(
            model=LLM, messages=FRANCE, temperature=0
        )
        return answer.choices[0].message.content

    said = await asyncio.gather(streamed(), whole(), streamed(), whole())
    assert all("Paris" in (text or "") for text in said)
