"""The document of the API says what the handlers do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from serving import EMBEDDER, LLM, Server

from npu_jupyter import api, finetune, v1

DOCUMENT: Any = yaml.safe_load(
    (Path(__file__).parents[2] / "docs" / "openapi.yaml").read_text("utf-8")
)
VERBS = {"get", "post", "put", "patch", "delete"}
CHAT: Any = {"model": LLM, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Walk through all objects of the document."""
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from nodes(child)
    elif isinstance(value, list):
        for child in value:
            yield from nodes(child)


def check(schema: str, value: Any) -> None:
    """Hold a value against a schema of the document."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    Draft202012Validator(whole).validate(value)


def test_routes_and_methods_are_those_of_the_handlers() -> None:
    documented = {path: VERBS & set(item) for path, item in DOCUMENT["paths"].items()}
    handlers = [handler for _pattern, handler in [*v1.routes(), *api.routes(), *finetune.routes()]]
    served = {handler.route: VERBS & set(vars(handler)) for handler in handlers}
    assert served.pop("/v1/*") == set()
    assert documented == served


def test_every_reference_leads_somewhere() -> None:
    for node in nodes(DOCUMENT):
        if "$ref" in node:
            found = DOCUMENT
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]


def test_schemas_are_schemas_and_operations_are_named_once() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    names = [node["operationId"] for node in nodes(DOCUMENT) if "operationId" in node]
    assert (
        len(names)
        == len(set(names))
        == sum(len(VERBS & set(p)) for p in DOCUMENT["paths"].values())
    )


@pytest.mark.parametrize(
    ("path", "body", "schema"),
    [
        ("/v1/models", None, "ModelList"),
        (f"/v1/models/{LLM}", None, "Model"),
        ("/v1/chat/completions", CHAT | {"logprobs": True, "n": 2}, "ChatCompletion"),
        ("/v1/completions", {"model": LLM, "prompt": "a", "max_tokens": 2}, "Completion"),
        ("/v1/embeddings", {"model": EMBEDDER, "input": ["a", "b"]}, "EmbeddingList"),
        ("/v1/models/load", {"name": EMBEDDER}, "Loaded"),
        ("/v1/models/status", None, "Status"),
        ("/api/npu/models", None, "RegisteredList"),
        ("/api/npu/devices", None, "DeviceList"),
        ("/v1/models/nobody", None, "Error"),
        ("/v1/chat/completions", {"model": LLM}, "Error"),
    ],
)
def test_real_replies_are_as_documented(server: Server, path: str, body: Any, schema: str) -> None:
    with server.http() as http:
        reply = http.get(path) if body is None else http.post(path, json=body)
    check(schema, reply.json())
    assert (schema == "Error") == reply.is_error


@pytest.mark.parametrize(
    ("path", "body", "schema"),
    [
        ("/v1/chat/completions", CHAT, "ChatCompletionChunk"),
        ("/v1/completions", {"model": LLM, "prompt": "a", "max_tokens": 2}, "Completion"),
    ],
)
def test_real_chunks_are_as_documented(server: Server, path: str, body: Any, schema: str) -> None:
    with server.http() as http:
        text = http.post(path, json=body | {"stream": True}).text
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data")]
    assert len(events) > 3
    for event in events[:-1]:
        check(schema, json.loads(event))
