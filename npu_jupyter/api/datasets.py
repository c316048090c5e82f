"""``/api/npu/datasets``: send datasets, and see what a model would learn of them."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from pydantic import Field
from tornado.web import stream_request_body

from npu_jupyter.access import allowed
from npu_jupyter.errors import InvalidRequest, NpuError
from npu_jupyter.finetune.datasets.check import DEFAULT_MAX_LENGTH, check_dataset
from npu_jupyter.finetune.datasets.library import Incoming
from npu_jupyter.finetune.handlers import JobHandler
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.v1.schema import Body, ModelName

_MAX_TEXT_LENGTH = 4096
_PREVIEW_ROWS = 3
_MAX_PREVIEW_ROWS = 50
_BEYOND_LIMIT_BYTES = 64 * 2**20
"""What is still read of a body that is too long, so that its sender hears why it is refused."""

Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT_LENGTH)]


class CheckBody(Body):
    """The body of ``POST /api/npu/datasets/check``."""

    model_id: int | None = None
    model: ModelName | None = None
    dataset: Text
    format: Text | None = None
    columns: dict[Text, Text] = {}
    text_column: Text | None = None
    max_length: Annotated[int, Field(ge=0)] = 0
    assistant_only_loss: bool = True
    preview: Annotated[int, Field(ge=0, le=_MAX_PREVIEW_ROWS)] = _PREVIEW_ROWS


class DatasetsHandler(JobHandler):
    """Lists what the caller has sent."""

    route = "/api/npu/datasets"
    _track_activity = False

    @allowed("read", "npu:finetune")
    async def get(self) -> None:
        """List the caller's own datasets, by name."""
        datasets = await asyncio.to_thread(self.extensionapp.datasets.all, self.owner)
        self.finish(msgspec.json.encode({"datasets": datasets}))


class CheckHandler(JobHandler):
    """Checks datasets, and starts nothing."""

    route = "/api/npu/datasets/check"

    @allowed("execute", "npu:finetune")
    async def post(self) -> None:
        """Read and render every row for a model, and report."""
        await self.while_connected(self._check(CheckBody.parse(self.json_body())))

    async def _check(self, body: CheckBody) -> None:
        from npu_jupyter.finetune.base import tokenizer_folder

        model = body.model if body.model_id is None else body.model_id
        if model is None:
            raise InvalidRequest("model_id is required.", param="model_id")
        recipe = Recipe(max_length=body.max_length, assistant_only_loss=body.assistant_only_loss)
        recipe.check()
        datasets, registry = self.extensionapp.datasets, self.engine.registry
        record = await asyncio.to_thread(self.jobs.starter.base, model)
        source = await asyncio.to_thread(datasets.find, body.dataset, self.owner)
        named = {} if body.text_column is None else {"text": body.text_column}
        async with datasets.checks:
            report = await check_dataset(
                source,
                tokenizer=await asyncio.to_thread(tokenizer_folder, registry, record),
                context_length=record.context_length or DEFAULT_MAX_LENGTH,
                recipe=recipe,
                columns=body.columns | named,
                format=body.format,
                max_bad_rows=None,
                preview=body.preview,
            )
        self.finish(msgspec.json.encode(report))


@stream_request_body
class DatasetHandler(JobHandler):
    """Takes datasets in as they come, and removes them."""

    route = "/api/npu/datasets/{name}"

    _incoming: Incoming | None = None
    _refused: NpuError | None = None

    async def prepare(self) -> None:  # type: ignore[override]
        """Look whether the caller may send this, before he does.

        What stands against it is told when a body that is not too long has come: a connection
        that is closed before takes the answer with it.
        """
        try:
            await super().prepare()
            if self.request.method == "PUT":
                await self._begin(self.path_args[0])  # type: ignore[misc]
        except NpuError as error:
            if not 0 < self._body_bytes <= _BEYOND_LIMIT_BYTES:
                raise
            self._refused = error

    @property
    def _body_bytes(self) -> int:
        """The size of the body as far as it was told; 0 is not known."""
        length = self.request.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else 0

    @allowed("write", "npu:finetune")
    async def _begin(self, name: str) -> None:
        datasets = self.extensionapp.datasets
        self._incoming = await asyncio.to_thread(
            datasets.receive, self.owner, name, self._body_bytes
        )
        if self.request.connection is not None:
            # Ours instead of the server's limit, which is meant for bodies in memory.
            self.request.connection.set_max_body_size(  # type: ignore[attr-defined]
                datasets.max_bytes + _BEYOND_LIMIT_BYTES
            )

    def data_received(self, chunk: bytes) -> None:
        """Write what has come to disk."""
        if self._incoming is None or self._refused is not None:
            return
        try:
            self._incoming.write(chunk)
        except NpuError as error:
            self._refused = error

    def told(self, error: BaseException) -> NpuError:
        """Tell what was found first."""
        return super().told(self._refused or error)

    @allowed("write", "npu:finetune")
    async def put(self, name: str) -> None:  # noqa: ARG002 - known since prepare()
        """Keep what was sent, over a dataset of the same name."""
        if self._refused is not None:
            raise self._refused
        assert self._incoming is not None
        dataset = await asyncio.to_thread(self._incoming.keep)
        self.set_status(201)
        self.finish(msgspec.json.encode(dataset))

    @allowed("write", "npu:finetune")
    async def delete(self, name: str) -> None:
        """Remove a dataset; jobs keep the rows that they took from it."""
        await asyncio.to_thread(self.extensionapp.datasets.remove, self.owner, name)
        self.finish(msgspec.json.encode({"status": "removed", "dataset": name}))

    def on_finish(self) -> None:
        """Leave nothing of what was not kept."""
        super().on_finish()
        self._drop()

    def on_connection_close(self) -> None:
        """Leave nothing of what came half."""
        super().on_connection_close()
        self._drop()

    def _drop(self) -> None:
        if self._incoming is not None:
            self._incoming.drop()
