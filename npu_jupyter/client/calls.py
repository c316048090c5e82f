"""What is asked of a server, and how its answers are read: once, for both clients.

Nothing in here does I/O: a `Call` describes a request, a transport sends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from npu_jupyter.client.records import (
    Device,
    DeviceList,
    Loaded,
    LoadedList,
    LoadedModel,
    Loading,
    Model,
    ModelList,
    Pull,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and how to read the JSON that answers it."""

    method: str
    path: str
    """Below the server's base URL."""
    read: Callable[[Any], T]
    json: dict[str, Any] | None = None
    query: dict[str, str] | None = None
    content: bytes | None = None
    """A body that is no JSON, with its type in `content_type`."""
    content_type: str = "application/json"


def _facts(answer: Any) -> Any:
    return answer


def _model(answer: dict[str, Any]) -> Model:
    """Read OpenAI's form, with our own facts under one key."""
    return msgspec.convert(answer | answer.get("npu", {}), Model, strict=False)


def _list(answer: Any, key: str, kind: type[T]) -> list[T]:
    return msgspec.convert(answer[key], list[kind], strict=False)  # type: ignore[valid-type]


def _named(name: str) -> str:
    """Quote a model's name for a path; names may hold slashes and colons."""
    return quote(name, safe="/:@")


def health() -> Call[dict[str, Any]]:
    """Ask whether a server is one of ours."""
    return Call("GET", "/health", _facts)


def models() -> Call[ModelList]:
    """List registered models."""
    return Call("GET", "/v1/models", lambda answer: ModelList(map(_model, answer["data"])))


def model(name: str) -> Call[Model]:
    """Describe a model."""
    return Call("GET", f"/v1/models/{_named(name)}", _model)


def status() -> Call[LoadedList]:
    """List models in memory."""
    return Call(
        "GET",
        "/v1/models/status",
        lambda answer: LoadedList(_list(answer, "models", LoadedModel)),
    )


def load(
    name: str, device: str | None, keep_alive_s: float | None, *, pin: bool | None
) -> Call[Loading | Loaded]:
    """Load a model, with its stages as events."""
    given = {"device": device, "pin": pin, "keep_alive": keep_alive_s}
    body = {key: value for key, value in given.items() if value is not None}
    return Call("POST", "/v1/models/load", _load_event, {"name": name, "stream": True, **body})


def _load_event(event: dict[str, Any]) -> Loading | Loaded:
    if event["status"] == "loading":
        return msgspec.convert(event, Loading, strict=False)
    return msgspec.convert(event, Loaded, strict=False)


def unload(name: str, *, force: bool) -> Call[None]:
    """Unload a model."""
    return Call("POST", "/v1/models/unload", _nothing, {"name": name, "force": force})


def _nothing(_answer: Any) -> None:
    return None


def devices() -> Call[DeviceList]:
    """List devices."""
    return Call(
        "GET", "/api/npu/devices", lambda answer: DeviceList(_list(answer, "devices", Device))
    )


def events() -> Call[dict[str, Any]]:
    """Follow what the engine does."""
    return Call("GET", "/api/npu/events", _facts)


def _pull(answer: Any) -> Pull:
    return msgspec.convert(answer, Pull, strict=False)


def start_pull(source: str, name: str | None, precision: str | None) -> Call[Pull]:
    """Begin to import a model."""
    given = {"name": name, "precision": precision}
    body = {key: value for key, value in given.items() if value is not None}
    return Call("POST", "/api/npu/models", _pull, {"source": source, **body})


def pull(pull_id: int) -> Call[Pull]:
    """Ask how far an import is."""
    return Call("GET", f"/api/npu/pulls/{pull_id}", _pull)


def cancel_pull(pull_id: int) -> Call[Pull]:
    """Stop an import."""
    return Call("DELETE", f"/api/npu/pulls/{pull_id}", _pull)


def remove(name: str) -> Call[None]:
    """Delete a model."""
    return Call("DELETE", f"/api/npu/models/{_named(name)}", _nothing)


def chat(body: dict[str, Any]) -> Call[dict[str, Any]]:
    """Answer a chat, whole or, with ``stream``, in chunks."""
    return Call("POST", "/v1/chat/completions", _facts, body)


def embeddings(model: str, texts: list[str]) -> Call[dict[str, Any]]:
    """Embed texts, as base64, the form that is quickest to write and to read."""
    body = {"model": model, "input": texts, "encoding_format": "base64"}
    return Call("POST", "/v1/embeddings", _facts, body)
