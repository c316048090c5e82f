"""Plain completions, by OpenAI's client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import BadRequestError
from serving import LLM, Server

PROMPT = "The capital of France is"
GREEDY: Any = {"model": LLM, "temperature": 0, "max_tokens": 8}


def test_a_prompt_goes_on(server: Server) -> None:
    answer = server.client().completions.create(prompt=PROMPT, **GREEDY)
    assert answer.id.startswith("cmpl-")
    assert answer.object == "text_completion"
    assert "Paris" in answer.choices[0].text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


def test_choices_of_several_prompts_are_in_their_order(server: Server) -> None:
    client = server.client()
    prompts = [PROMPT, "One, two, three,"]
    alone = [client.completions.create(prompt=p, **GREEDY).choices[0].text for p in prompts]
    answer = client.completions.create(prompt=prompts, n=2, **GREEDY)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in answer.choices[::2]] == alone
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 32


def test_echo_begins_with_the_prompt(server: Server) -> None:
    client = server.client()
    plain = client.completions.create(prompt=PROMPT, **GREEDY)
    echoed = client.completions.create(prompt=PROMPT, echo=True, **GREEDY)
    assert echoed.choices[0].text == PROMPT + plain.choices[0].text
    assert echoed.usage == plain.usage


def test_token_ids_are_the_models_own(server: Server) -> None:
    answer = server.client().completions.create(prompt=[[504, 3575], [504]], echo=True, **GREEDY)
    first, second = (choice.text for choice in answer.choices)
    assert first.startswith("The capital") or first[:3] == second[:3]
    with pytest.raises(BadRequestError, match="Token ids") as refused:
        server.client().completions.create(prompt=[10**8], **GREEDY)
    assert refused.value.param == "prompt.0"


def test_log_probabilities_in_columns(server: Server) -> None:
    answer = server.client().completions.create(prompt=PROMPT, logprobs=0, **GREEDY)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.text_offset is not None
    assert "".join(logprobs.tokens) == answer.choices[0].text
    assert logprobs.text_offset[:2] == [0, len(logprobs.tokens[0])]
    assert len(logprobs.token_logprobs or []) == len(logprobs.top_logprobs or []) == 8


def test_a_stream_says_the_same(server: Server) -> None:
    # The client's strict mode is off: its type of a chunk has no null for finish_reason,
    # which OpenAI itself sends until the last.
    whole = server.client().completions.create(prompt=PROMPT, **GREEDY)
    body = {"prompt": PROMPT, "stream": True, "stream_options": {"include_usage": True}, **GREEDY}
    with server.http() as http:
        lines = http.post("/v1/completions", json=body).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    choices = [event["choices"][0] for event in events[:-1]]
    assert "".join(choice["text"] for choice in choices) == whole.choices[0].text
    assert [choice["finish_reason"] for choice in choices[-2:]] == [None, "length"]
    assert whole.usage is not None
    assert events[-1]["usage"] == whole.usage.model_dump(exclude_none=True)


def test_an_empty_prompt_is_refused(server: Server) -> None:
    for prompt in ("", ["a", ""]):
        with pytest.raises(BadRequestError, match="at least one token"):
            server.client().completions.create(prompt=prompt, **GREEDY)
