"""``/api/npu/models`` and ``/api/npu/pulls``: bring models to this machine, and remove them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated, Literal

import msgspec
from pydantic import Field

from npu_jupyter.access import allowed
from npu_jupyter.api.pulls import check_source
from npu_jupyter.errors import ModelNotFound
from npu_jupyter.handler import NpuHandler
from npu_jupyter.v1.models import describe
from npu_jupyter.v1.schema import Body, ModelName

_MAX_SOURCE_LENGTH = 4096


class PullBody(Body):
    """The body of ``POST /api/npu/models``."""

    source: Annotated[str, Field(min_length=1, max_length=_MAX_SOURCE_LENGTH)]
    name: ModelName | None = None
    precision: Literal["int4", "int8", "fp16"] | None = None


class ModelsHandler(NpuHandler):
    """Lists models with their ids, and adds to them."""

    route = "/api/npu/models"
    _track_activity = False

    @allowed("read", "npu:models")
    async def get(self) -> None:
        """List every registered model, with where it came from."""
        records = await asyncio.to_thread(self.engine.registry.models)
        models = [
            {"id": record.id, "name": record.name, "source": record.source}
            | describe(record, self.engine)["npu"]
            for record in records
        ]
        self.finish(msgspec.json.encode({"models": models}))

    @allowed("write", "npu:admin")
    async def post(self) -> None:
        """Begin to import a model; its progress is at ``/api/npu/pulls/{id}``."""
        body = PullBody.parse(self.json_body())
        check_source(body.source, self.extensionapp.source_dirs)
        pull = self.extensionapp.pulls.start(body.source, body.name, body.precision)
        self.set_status(202)
        self.finish(msgspec.json.encode(pull.describe()))


class ModelHandler(NpuHandler):
    """Removes models."""

    route = "/api/npu/models/{name}"

    @allowed("write", "npu:admin")
    async def delete(self, name: str) -> None:
        """Unload a model, and delete it from registry and disk."""
        record = await asyncio.to_thread(self.engine.registry.get, name)
        if record.carrier is None:  # others use the worker of an adapter
            with suppress(ModelNotFound):  # it was not loaded
                await self.engine.unload(record.name)
        await asyncio.to_thread(self.engine.registry.remove, record.name)
        self.finish(msgspec.json.encode({"status": "removed", "model": record.name}))


class PullsHandler(NpuHandler):
    """Lists imports."""

    route = "/api/npu/pulls"
    _track_activity = False

    @allowed("read", "npu:models")
    def get(self) -> None:
        """List imports, the newest hundred."""
        pulls = [pull.describe() for pull in self.extensionapp.pulls.all()]
        self.finish(msgspec.json.encode({"pulls": pulls}))


class PullHandler(NpuHandler):
    """Tells of one import, and stops it."""

    route = "/api/npu/pulls/{id}"
    _track_activity = False

    @allowed("read", "npu:models")
    def get(self, pull_id: str) -> None:
        """Say how far an import is."""
        self.finish(msgspec.json.encode(self.extensionapp.pulls.get(int(pull_id)).describe()))

    @allowed("write", "npu:admin")
    def delete(self, pull_id: str) -> None:
        """Stop an import; nothing of it is registered."""
        pull = self.extensionapp.pulls.get(int(pull_id))
        pull.cancelled.set()
        self.finish(msgspec.json.encode(pull.describe()))
