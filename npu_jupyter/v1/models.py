"""``/v1/models``: which models there are, and taking them into memory and out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from pydantic import Field

from npu_jupyter.access import allowed
from npu_jupyter.engine.engine import Engine
from npu_jupyter.engine.model import LoadedModel
from npu_jupyter.engine.stream import LoadingModel
from npu_jupyter.handler import NpuHandler
from npu_jupyter.registry.records import ModelRecord
from npu_jupyter.v1.schema import Body, ModelName
from npu_jupyter.v1.sse import EventStream, frame

_OWNER = "npu-stack"
_MAX_KEEP_ALIVE_S = 10 * 365 * 24 * 3600.0


class LoadBody(Body):
    """The body of ``POST /v1/models/load``."""

    name: ModelName
    device: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    pin: bool | None = None
    keep_alive: Annotated[float, Field(ge=0, le=_MAX_KEEP_ALIVE_S, allow_inf_nan=False)] | None = (
        None
    )
    """Seconds without a request until it is unloaded; 0 keeps it for good."""
    stream: bool | None = None

    def events(self, engine: Engine) -> AsyncGenerator[LoadingModel | LoadedModel]:
        """Begin to load."""
        return engine.load_events(
            self.name, device=self.device, pin=self.pin, keep_alive_s=self.keep_alive
        )


class UnloadBody(Body):
    """The body of ``POST /v1/models/unload``."""

    name: ModelName
    force: bool | None = None
    """End running requests at once instead of letting them finish."""


def describe(record: ModelRecord, engine: Engine) -> dict[str, Any]:
    """Say what a model is, in OpenAI's form with our own facts under one key."""
    status, device = engine.pool.model_status(record.loaded.name)
    model: dict[str, Any] = {
        "id": record.name,
        "object": "model",
        "created": record.created,
        "owned_by": _OWNER,
        "npu": {
            "registry_id": record.id,
            "status": status,
            "type": record.type,
            "device": device,
            "format": record.format,
            "architecture": record.architecture,
            "precision": record.precision,
            "context_length": record.context_length,
            "size_bytes": record.size_bytes,
        },
    }
    if record.parent is not None:
        model["parent"] = record.parent
    return model


class ModelsHandler(NpuHandler):
    """Lists models."""

    route = "/v1/models"
    _track_activity = False

    @allowed("read", "npu:models")
    async def get(self) -> None:
        """List every registered model, loaded or not."""
        records = await asyncio.to_thread(self.engine.registry.models)
        data = [describe(record, self.engine) for record in records]
        self.finish(msgspec.json.encode({"object": "list", "data": data}))


class ModelHandler(NpuHandler):
    """Tells of one model."""

    route = "/v1/models/{id}"
    _track_activity = False

    @allowed("read", "npu:models")
    async def get(self, name: str) -> None:
        """Describe a model; names may hold slashes and colons."""
        record = await asyncio.to_thread(self.engine.registry.get, name)
        self.finish(msgspec.json.encode(describe(record, self.engine)))


class LoadHandler(NpuHandler):
    """Takes models into memory."""

    route = "/v1/models/load"

    @allowed("execute", "npu:load")
    async def post(self) -> None:
        """Load a model; with ``stream`` say how far it is.

        A client that leaves does not stop the load: others may be waiting for it.
        """
        body = LoadBody.parse(self.json_body())
        await self.while_connected(self._stream(body) if body.stream else self._load(body))

    async def _load(self, body: LoadBody) -> None:
        async with aclosing(body.events(self.engine)) as events:
            async for event in events:
                if isinstance(event, LoadedModel):
                    self.set_header("x-npu-device", event.device)
                    self.finish(msgspec.json.encode(_loaded(event)))

    async def _stream(self, body: LoadBody) -> None:
        async with aclosing(body.events(self.engine)) as events, EventStream(self) as stream:
            async for event in events:
                told = _loaded(event) if isinstance(event, LoadedModel) else _loading(event)
                await stream.send(frame(told))


def _loaded(model: LoadedModel) -> dict[str, Any]:
    return {
        "status": "already_loaded" if model.already_loaded else "loaded",
        "model": model.name,
        "type": model.type,
        "device": model.device,
        "loaded_at": model.loaded_at,
    }


def _loading(event: LoadingModel) -> dict[str, Any]:
    return {
        "status": "loading",
        "stage": event.stage,
        "percent": event.percent,
        "eta_seconds": event.eta_s,
    }


class UnloadHandler(NpuHandler):
    """Takes models out of memory."""

    route = "/v1/models/unload"

    @allowed("execute", "npu:load")
    async def post(self) -> None:
        """Unload a model, once its running requests are done."""
        body = UnloadBody.parse(self.json_body())
        await self.engine.unload(body.name, force=bool(body.force))
        self.finish(msgspec.json.encode({"status": "unloaded", "model": body.name}))


class StatusHandler(NpuHandler):
    """Tells of the models in memory."""

    route = "/v1/models/status"
    _track_activity = False

    @allowed("read", "npu:models")
    async def get(self) -> None:
        """List each loaded model with its memory and its requests."""
        models = [asdict(model) for model in self.engine.status()]
        self.finish(msgspec.json.encode({"models": models}))
