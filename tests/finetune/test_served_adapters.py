"""Chats with adapters, beside their base and each other, in a real engine."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from finetune.adapter_files import write_adapter
from serving import LLM, Server, serve

from npu_jupyter.finetune.publish import publish_adapter
from npu_jupyter.registry.store import Registry

pytestmark = pytest.mark.slow

A, B, BROKEN = f"{LLM}:a", f"{LLM}:b", f"{LLM}:broken"
LONG = 300
"""Tokens that take longer than a turn."""
COMMAND = ["-c", "from npu_jupyter.app import main; main()"]
PROMPT: Any = [{"role": "user", "content": "Tell me about the sea."}]


@pytest.fixture(scope="module")
def adapters(
    trainable_data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A bare service that knows a base, two adapters and a damaged one."""
    home = tmp_path_factory.mktemp("adapters")
    data_dir = Path(shutil.copytree(trainable_data_dir, home / "npu"))
    registry = Registry(data_dir=str(data_dir))
    base = registry.get(LLM)
    for seed, name in enumerate((A, B, BROKEN)):
        folder = write_adapter(home / f"adapter-{seed}", seed=seed)
        record = publish_adapter(registry, name, folder, base, f"job:{seed}")
    Path(record.served_adapter).write_bytes(b"not safetensors")
    registry.close()
    with serve(COMMAND, "", "", data_dir, home) as server:
        yield server


def say(server: Server, model: str, tokens: int = 12, **fields: Any) -> str:
    answer = server.client(api_key="any").chat.completions.create(
        model=model, messages=PROMPT, max_tokens=tokens, temperature=0, **fields
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= tokens
    return answer.choices[0].message.content or ""


def test_each_answers_as_if_it_were_alone(adapters: Server) -> None:
    """A, B, A and the base in between say what they say cold."""
    base = say(adapters, LLM)
    a, b = say(adapters, A), say(adapters, B)
    assert len({base, a, b}) == 3
    for model, cold in ((A, a), (LLM, base), (B, b), (A, a), (B, b), (LLM, base)):
        assert say(adapters, model) == cold
    with adapters.http() as http:
        http.post("/v1/models/unload", json={"name": A})
        loaded = http.get("/v1/models/status").json()["models"]
        assert [model["name"] for model in loaded] == [LLM]
    assert say(adapters, B) == b
    assert say(adapters, A) == a


def test_many_at_once_get_their_own_adapter(adapters: Server) -> None:
    models = [A, B, LLM] * 4
    alone = {model: say(adapters, model, 4) for model in models}
    with ThreadPoolExecutor(len(models)) as pool:
        answers = list(pool.map(lambda model: say(adapters, model, 4), models))
    assert answers == [alone[model] for model in models]


def test_a_long_answer_makes_way_and_goes_on(adapters: Server) -> None:
    """Each takes longer than its turn: neither waits for the other's end, and both come whole."""
    started = threading.Barrier(2)

    def stream(model: str) -> tuple[float, float, str, int]:
        started.wait()
        times, texts, tokens = [], [], 0
        for chunk in adapters.client(api_key="any").chat.completions.create(
            model=model,
            messages=PROMPT,
            max_tokens=LONG,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        ):
            if chunk.choices and chunk.choices[0].delta.content:
                times.append(time.monotonic())
                texts.append(chunk.choices[0].delta.content)
            if chunk.usage:
                tokens = chunk.usage.completion_tokens
        return times[0], times[-1], "".join(texts), tokens

    say(adapters, A, 1)
    with ThreadPoolExecutor(2) as pool:
        a, b = pool.map(stream, (A, B))
    assert a[3] == b[3] == LONG
    assert max(a[0], b[0]) < min(a[1], b[1]), "one waited for the other's end"
    assert a[2].startswith(say(adapters, A, 6))
    assert b[2].startswith(say(adapters, B, 6))


def test_an_adapter_streams_and_keeps_to_a_schema(adapters: Server) -> None:
    client = adapters.client(api_key="any")
    stream = client.chat.completions.create(
        model=A, messages=PROMPT, max_tokens=12, temperature=0, stream=True
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert streamed == say(adapters, A)
    schema: Any = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    text = say(adapters, A, 40, response_format=form)
    assert json.loads(text) in ({"n": 1}, {"n": 2})


def test_a_damaged_adapter_is_told_and_hurts_nobody(adapters: Server) -> None:
    before = say(adapters, A)
    with pytest.raises(openai.InternalServerError, match="cannot be read"):
        say(adapters, BROKEN)
    assert say(adapters, A) == before


def test_an_adapter_is_listed_with_its_parent(adapters: Server) -> None:
    with adapters.http() as http:
        models = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
        assert models[A]["parent"] == LLM
        assert "parent" not in models[LLM]
        say(adapters, A, 1)
        assert http.get(f"/v1/models/{A}").json()["npu"]["status"] == "loaded"
        refused = http.delete(f"/api/npu/models/{LLM}")
        assert refused.status_code == 409, refused.text
        removed = http.delete(f"/api/npu/models/{BROKEN}")
        assert removed.status_code == 200, removed.text
        loaded = http.get("/v1/models/status").json()["models"]
    assert f"{LLM}+adapters" in [model["name"] for model in loaded], "others use it"
