"""Chats, by OpenAI's own clients with every field of the answer checked."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from serving import EMBEDDER, LLM, Server

HELLO: Any = [{"role": "user", "content": "Say hello."}]


def frames(server: Server, **body: Any) -> list[Any]:
    """Give the events of a stream as they come over the wire."""
    body = {"model": LLM, "messages": HELLO, "stream": True, "max_tokens": 8, **body}
    with server.http() as http:
        reply = http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"
    events = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    events = [event for event in events if not event.startswith(":")]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def test_an_answer_in_one_piece(server: Server) -> None:
    reply = server.client().chat.completions.with_raw_response.create(
        model=LLM, messages=HELLO, max_tokens=8, temperature=0
    )
    assert reply.headers["x-npu-device"] == "CPU"
    assert reply.headers["x-request-id"].startswith("req_")
    answer = reply.parse()
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == LLM
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    assert answer.usage.prompt_tokens > len(HELLO[0]["content"].split())
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8


def test_a_stream_says_the_same_as_the_whole_answer(server: Server) -> None:
    asked: Any = {"model": LLM, "messages": HELLO, "max_tokens": 24, "temperature": 0}
    client = server.client()
    whole = client.chat.completions.create(**asked)
    stream = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 4
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


async def _ask(client: openai.AsyncOpenAI, *, stream: bool) -> str:
    asked: Any = {"model": LLM, "messages": HELLO, "max_tokens": 12, "temperature": 0}
    if not stream:
        answer = await client.chat.completions.create(**asked)
        return answer.choices[0].message.content or ""
    chunks = await client.chat.completions.create(**asked, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


@pytest.mark.asyncio(loop_scope="session")
async def test_the_asynchronous_client(server: Server) -> None:
    client = openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key=server.token, _strict_response_validation=True
    )
    async with client:
        whole = await _ask(client, stream=False)
        assert whole
        assert await _ask(client, stream=True) == whole


def test_the_sdks_stream_helper_puts_the_answer_together(server: Server) -> None:
    with server.client().chat.completions.stream(
        model=LLM,
        messages=HELLO,
        stop=["e"],
        n=2,
        temperature=0,
        stream_options={"include_usage": True},
    ) as stream:
        for _event in stream:
            pass
        answer = stream.get_final_completion()
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "stop"]
    assert all(choice.message.role == "assistant" for choice in answer.choices)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_the_shape_of_a_stream(server: Server) -> None:
    events = frames(server, n=2)
    choices = [choice for event in events for choice in event["choices"]]
    assert all(event["object"] == "chat.completion.chunk" for event in events)
    assert all("usage" not in event for event in events)
    for index in (0, 1):
        mine = [choice for choice in choices if choice["index"] == index]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert all("role" not in choice["delta"] for choice in mine[1:])
        assert all(choice["finish_reason"] is None for choice in mine[:-1])
        assert (mine[-1]["delta"], mine[-1]["finish_reason"]) == ({}, "length")


def test_usage_comes_only_when_it_is_asked_for(server: Server) -> None:
    events = frames(server, stream_options={"include_usage": True})
    assert all(event["usage"] is None for event in events[:-1])
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 8


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(server: Server) -> None:
    messages: Any = [{"role": "user", "content": "Count: 1, 2, 3, 4, 5, 6, 7, 8, 9"}]
    asked: Any = {"model": LLM, "messages": messages, "temperature": 0, "max_tokens": 40}
    client = server.client()
    free = client.chat.completions.create(**asked).choices[0].message.content
    assert free is not None
    stop = free[6:9]
    for stream in (False, True):
        if stream:
            chunks = list(client.chat.completions.create(**asked, stop=stop, stream=True))
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            reason = chunks[-1].choices[0].finish_reason
        else:
            choice = client.chat.completions.create(**asked, stop=[stop]).choices[0]
            text, reason = choice.message.content or "", choice.finish_reason
        assert text == free[: free.index(stop)]
        assert reason == "stop"


def test_a_seed_repeats_an_answer_and_choices_differ(server: Server) -> None:
    asked: Any = {"model": LLM, "messages": HELLO, "max_tokens": 16, "temperature": 1.5, "n": 2}
    client = server.client()
    # The first answer fills the cache of prompts; from it, numbers come out a last bit different.
    _first, second, third, other = (
        [c.message.content for c in client.chat.completions.create(**asked, seed=seed).choices]
        for seed in (5, 5, 5, -5)
    )
    assert second == third != other
    assert second[0] != second[1]


def test_log_probabilities_belong_to_the_tokens_of_the_answer(server: Server) -> None:
    asked: Any = {"model": LLM, "messages": HELLO, "max_tokens": 8, "temperature": 0}
    client = server.client()
    choice = client.chat.completions.create(**asked, logprobs=True, top_logprobs=0).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    tokens = choice.logprobs.content
    assert len(tokens) == 8
    assert all(token.logprob <= 0 for token in tokens)
    text = b"".join(bytes(token.bytes or []) for token in tokens).decode()
    assert text == choice.message.content
    streamed = [
        token
        for chunk in client.chat.completions.create(**asked, logprobs=True, stream=True)
        for token in (chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or []
    ]
    assert [token.token for token in streamed] == [token.token for token in tokens]


def test_an_answer_of_a_json_schema_matches_it(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = server.client().chat.completions.create(
        model=LLM,
        messages=[{"role": "user", "content": "Invent a person."}],
        temperature=0,
        max_tokens=80,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": schema},
        },
    )
    person = json.loads(answer.choices[0].message.content or "")
    assert set(person) == {"name", "age"}
    assert isinstance(person["age"], int)


def test_json_object_gives_an_object(server: Server) -> None:
    answer = server.client().chat.completions.create(
        model=LLM,
        messages=[{"role": "user", "content": 'Answer with {"city": "Paris"} and nothing else.'}],
        temperature=0,
        max_tokens=60,
        response_format={"type": "json_object"},
    )
    text = answer.choices[0].message.content or ""
    assert text.lstrip().startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def test_parts_and_the_developers_role_are_understood(server: Server) -> None:
    client = server.client()
    plain: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say\nhello."},
    ]
    parts: Any = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Say"}, {"type": "text", "text": "hello."}],
        },
    ]
    answers = [
        client.chat.completions.create(model=LLM, messages=messages, max_tokens=8, temperature=0)
        for messages in (plain, parts)
    ]
    assert answers[0].usage == answers[1].usage
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


def test_an_unknown_model_is_not_found(server: Server) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        server.client().chat.completions.create(model="gpt-4o", messages=HELLO)
    assert refused.value.code == "model_not_found"
    assert refused.value.response.headers["x-should-retry"] == "false"


def test_a_model_of_another_kind_names_its_endpoint(server: Server) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="/v1/embeddings") as refused:
            server.client().chat.completions.create(model=EMBEDDER, messages=HELLO, stream=stream)
        assert refused.value.param == "model"


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(server: Server) -> None:
    messages: Any = [{"role": "user", "content": "word " * 9000}]
    for stream in (False, True):
        with pytest.raises(
            openai.BadRequestError, match=r"has at least \d+ tokens.* 8191 at most"
        ) as refused:
            server.client().chat.completions.create(model=LLM, messages=messages, stream=stream)
        assert refused.value.code == "context_length_exceeded"
        assert refused.value.param == "messages"
