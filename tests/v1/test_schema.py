"""Every field that OpenAI's clients send is honoured, refused by name, or harmless to ignore."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from npu_jupyter.errors import InvalidRequest, InvalidSchema, UnsupportedParameter
from npu_jupyter.v1.embeddings import EmbeddingBody
from npu_jupyter.v1.refusals import CHAT_REFUSALS, COMPLETION_REFUSALS
from npu_jupyter.v1.schema import ChatBody, CompletionBody

HELLO = [{"role": "user", "content": "Hello"}]

HARMLESS = {
    "function_call",  # means nothing without functions, which are refused
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "verbosity",
}
"""Change nothing about the answer's content."""


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HELLO, **fields}


def completion(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": "Hello", **fields}


@pytest.mark.parametrize(
    ("sent", "body", "refusals"),
    [
        (chat_create_params.CompletionCreateParamsBase, ChatBody, CHAT_REFUSALS),
        (completion_create_params.CompletionCreateParamsBase, CompletionBody, COMPLETION_REFUSALS),
        (embedding_create_params.EmbeddingCreateParams, EmbeddingBody, []),
    ],
)
def test_every_field_of_the_openai_sdk_is_known(sent: Any, body: Any, refusals: Any) -> None:
    refused = {refusal.field for refusal in refusals}
    assert set(sent.__annotations__) - set(body.model_fields) - refused <= HARMLESS


def test_defaults_are_those_of_the_contract() -> None:
    sampling = ChatBody.parse(chat()).request().sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.top_p) == (0.7, 256, 1.0)
    assert not ChatBody.parse(chat()).stream


def test_null_means_the_default() -> None:
    fields = {*ChatBody.model_fields, *(refusal.field for refusal in CHAT_REFUSALS)}
    nothing = dict.fromkeys(fields - {"model", "messages"})
    assert ChatBody.parse(chat(**nothing)).request() == (ChatBody.parse(chat()).request())


def test_honoured_fields_reach_the_engine() -> None:
    request = ChatBody.parse(
        chat(
            temperature=0,
            top_p=0.5,
            n=3,
            stop="END",
            seed=7,
            max_tokens=5,
            max_completion_tokens=6,
            presence_penalty=1,
            frequency_penalty=-2,
            logprobs=True,
            top_k=40,
            min_p=0.1,
            repetition_penalty=1.1,
            ignore_eos=True,
            chat_template_kwargs={"enable_thinking": False},
        )
    ).request()
    sampling = request.sampling
    assert request.n == 3
    assert request.template_kwargs == {"enable_thinking": False}
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0, 0.5, 6)
    assert (sampling.stop, sampling.seed, sampling.logprobs) == (("END",), 7, True)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (1, -2)
    assert (sampling.top_k, sampling.min_p, sampling.repetition_penalty) == (40, 0.1, 1.1)
    assert sampling.ignore_eos


def test_top_p_of_zero_is_greedy() -> None:
    sampling = ChatBody.parse(chat(top_p=0, temperature=1.5)).request().sampling
    assert (sampling.temperature, sampling.top_p) == (0.0, 1.0)


def test_negative_seeds_stay_distinct_and_become_unsigned() -> None:
    seeds = [ChatBody.parse(chat(seed=s)).request().sampling.seed for s in (-1, -2, -(2**63), 1)]
    assert len(set(seeds)) == len(seeds)
    assert all(seed is not None and 0 <= seed < 2**63 for seed in seeds)


def test_content_parts_are_joined_and_developers_are_the_system() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    request = ChatBody.parse(
        chat(
            messages=[
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": parts},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "x": 1}]},
                {"role": "tool", "content": "4", "tool_call_id": "c"},
            ]
        )
    ).request()
    assert request.messages is not None
    assert request.messages[0] == {"role": "system", "content": "Be brief."}
    assert request.messages[1]["content"] == "one\ntwo"
    assert request.messages[2]["tool_calls"] == [{"id": "c", "x": 1}]
    assert request.messages[3]["tool_call_id"] == "c"


def test_prompts_come_in_four_forms() -> None:
    for prompt, prompts in [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ]:
        request = CompletionBody.parse(completion(prompt=prompt, echo=True, n=2)).request()
        assert request.prompts == prompts
        assert request.echo
        assert request.choices == 2 * len(prompts)


def test_json_object_and_json_schema_become_schemas() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for response_format, expected in [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object", "additionalProperties": True}),
        (named, schema),
    ]:
        text = ChatBody.parse(chat(response_format=response_format)).request().sampling.json_schema
        assert (text and json.loads(text)) == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"logprobs": True, "top_logprobs": 1}, "top_logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "ash", "format": "wav"}}, "audio"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "x"}}, "moderation"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content",
        ),
    ],
)
def test_what_cannot_be_honoured_in_a_chat_is_refused(fields: Any, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        ChatBody.parse(chat(**fields))
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"best_of": 2}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": 0, "echo": True}, "logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
    ],
)
def test_what_cannot_be_honoured_in_a_completion_is_refused(fields: Any, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        CompletionBody.parse(completion(**fields))
    assert refused.value.param == param


def test_refusals_leave_alone_what_changes_nothing() -> None:
    ChatBody.parse(
        chat(
            tools=[{"type": "function"}],
            tool_choice="none",
            functions=[{"name": "f"}],
            function_call="none",
            logit_bias={},
            top_logprobs=0,
            modalities=["text"],
            store=True,
            metadata={"a": "b"},
            something_new=1,
        )
    )
    CompletionBody.parse(completion(best_of=2, n=2, suffix="", logprobs=0))


DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"model": ""}, "model"),
        ({"model": "x" * 300}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages.0"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": 1, "content": "x"}]}, "messages.0.role"),
        ({"messages": [*HELLO, {"role": "user"}]}, "messages.1"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
        (
            {"messages": [{"role": "user", "content": "x", "tool_calls": [DEEP]}]},
            "messages.0.tool_calls.0",
        ),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [{"a": DEEP}]}]}, "messages"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": 1e300}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": [1]}, "temperature"),
        ({"top_p": 1.01}, "top_p"),
        ({"top_p": -1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": -1}, "n"),
        ({"n": 1000}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": True}, "n"),
        ({"n": "2"}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10**12}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 10**4000}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"stop": 1}, "stop"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ["a"] * 10_000}, "stop"),
        ({"stop": [""]}, "stop.0"),
        ({"stop": ["a", 1]}, "stop.1"),
        ({"stop": "x" * 1001}, "stop.0"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": -1}, "top_logprobs"),
        ({"top_logprobs": "1"}, "top_logprobs"),
        ({"stream": "true"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"user": 1}, "user"),
        ({"top_k": -2}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"ignore_eos": 1}, "ignore_eos"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"a": DEEP}}, "chat_template_kwargs"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": []}}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_bad_fields_of_a_chat_are_named(fields: Any, param: str) -> None:
    body = chat(**fields)
    with pytest.raises(InvalidRequest) as refused:
        ChatBody.parse(body).request()
    assert refused.value.param == param
    assert refused.value.message.startswith(param)
    assert len(refused.value.message) < 300


@pytest.mark.parametrize("field", ["model", "messages"])
def test_required_fields_are_required(field: str) -> None:
    body = chat()
    del body[field]
    with pytest.raises(InvalidRequest, match=f"^{field} is required") as refused:
        ChatBody.parse(body)
    assert refused.value.param == field


@pytest.mark.parametrize(
    "value", [None, 1, {}, [], [[]], ["a", 1], [1, "a"], [[1], "a"], [True], [-1], [2**31], [[1.0]]]
)
@pytest.mark.parametrize("kind", [CompletionBody, EmbeddingBody])
def test_bad_texts_and_tokens_are_named(kind: Any, value: Any) -> None:
    param = "prompt" if kind is CompletionBody else "input"
    with pytest.raises(InvalidRequest) as refused:
        kind.parse({"model": "m", param: value})
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ["x"] * 2049}, "input"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "8"}, "dimensions"),
    ],
)
def test_bad_fields_of_embeddings_are_named(fields: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        EmbeddingBody.parse({"model": "m", "input": "x", **fields})
    assert refused.value.param == param


def test_an_empty_text_can_be_embedded() -> None:
    assert EmbeddingBody.parse({"model": "m", "input": ""}).input == [""]
    assert len(EmbeddingBody.parse({"model": "m", "input": ["x"] * 2048}).input) == 2048


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "wizard"},
        {"properties": {"a": {"minimum": "low"}}},
        {"required": "a"},
        {"enum": ["x" * 70_000]},
    ],
)
def test_what_is_no_schema_or_too_large_is_refused(schema: Any) -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(InvalidSchema) as refused:
        ChatBody.parse(chat(response_format=response_format)).request()
    assert refused.value.param == "response_format.json_schema.schema"
