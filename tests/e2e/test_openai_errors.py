"""OpenAI's client for Python, models and errors: each failure arrives as the class it should."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import EMBEDDER, LLM, Server

HELLO: Any = [{"role": "user", "content": "Hello!"}]


def test_models_are_listed_and_described(client: OpenAI) -> None:
    assert {model.id for model in client.models.list()} >= {LLM, EMBEDDER}
    model = client.models.retrieve(LLM)
    assert model.id == LLM
    assert model.object == "model"
    assert (model.model_extra or {})["npu"]["type"] == "llm"


def test_raw_reply_names_device_and_request(client: OpenAI) -> None:
    reply = client.chat.completions.with_raw_response.create(
        model=LLM, messages=HELLO, max_completion_tokens=2
    )
    assert reply.headers["x-npu-device"] == "CPU"
    assert reply.headers["x-request-id"] == reply.parse()._request_id
    again = client.models.with_raw_response.list()
    assert again.headers["x-request-id"] != reply.headers["x-request-id"]


def test_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="smollm2") as caught:
        client.chat.completions.create(model="smollm2-135m", messages=HELLO)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody/nothing:latest")
    assert caught.value.code == "model_not_found"


def test_bad_field_is_named(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=LLM, messages=HELLO, temperature=7)
    assert caught.value.param == "temperature"
    assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=LLM, messages=HELLO, logit_bias={"50": 10})
    assert caught.value.param == "logit_bias"
    assert caught.value.code == "unsupported_parameter"


@pytest.mark.slow
def test_unknown_key_is_an_authentication_error(lab: Server) -> None:
    for key in ("wrong", "sk-npu-wrong"):
        stranger = lab.client(api_key=key)
        with pytest.raises(openai.AuthenticationError) as caught:
            stranger.models.list()
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(model=LLM, messages=HELLO)


@pytest.mark.slow
def test_caller_over_his_share_is_told_when_to_come_back(lab: Server) -> None:
    client = lab.client(api_key=lab.key("chat"))
    other = lab.client(api_key=lab.key("chat"))
    with ThreadPoolExecutor() as pool, ExitStack() as running:
        for _ in range(2):  # as many as run at once
            stream = client.chat.completions.create(
                model=LLM,
                messages=HELLO,
                max_completion_tokens=4000,
                stream=True,
                extra_body={"ignore_eos": True},
            )
            next(iter(running.enter_context(stream)))
        in_line = pool.submit(greet, client)
        while not requests_waiting(lab):
            time.sleep(0.02)
        with pytest.raises(openai.RateLimitError) as caught:
            greet(client)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        beside = pool.submit(greet, other)
        running.close()
        assert in_line.result()
        assert beside.result()


def greet(client: OpenAI) -> str | None:
    """Get a short answer."""
    answer = client.chat.completions.create(model=LLM, messages=HELLO, max_completion_tokens=2)
    return answer.choices[0].message.content


def requests_waiting(server: Server) -> int:
    """Count the requests in line for the chat model."""
    with server.http() as http:
        loaded = http.get("/v1/models/status").json()["models"]
    return sum(model["requests_waiting"] for model in loaded)
