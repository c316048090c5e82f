"""``POST /v1/embeddings``."""

from __future__ import annotations

import asyncio
import base64
import math
import sys
from array import array
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field, PlainValidator

from npu_jupyter import metrics
from npu_jupyter.access import allowed
from npu_jupyter.engine.stream import Vectors
from npu_jupyter.errors import InvalidRequest
from npu_jupyter.handler import NpuHandler
from npu_jupyter.v1.schema import Body, ModelName
from npu_jupyter.v1.token_input import TokenInput, decode_cl100k
from npu_jupyter.v1.tokens import as_prompts

_MAX_INPUTS = 2048
_ROWS_AT_ONCE = 64
"""Rows encoded before other requests get a turn."""
_FLOAT_BYTES = 4


class EmbeddingBody(Body):
    """The body of ``POST /v1/embeddings``."""

    model: ModelName
    input: Annotated[list[str] | list[list[int]], PlainValidator(as_prompts)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None

    @classmethod
    def parse(cls, body: dict[str, Any]) -> EmbeddingBody:
        """Check `body`.

        Raises:
            InvalidRequest: with the field at fault in `param`.
        """
        parsed = super().parse(body)
        if len(parsed.input) > _MAX_INPUTS:
            raise InvalidRequest(
                f"input holds {len(parsed.input):,} texts; at most {_MAX_INPUTS:,} are taken at "
                "once.",
                param="input",
            )
        return parsed


class EmbeddingHandler(NpuHandler):
    """Turns texts into vectors."""

    route = "/v1/embeddings"

    @allowed("execute", "npu:chat")
    async def post(self) -> None:
        """Embed each input."""
        await self.while_connected(self._embed(EmbeddingBody.parse(self.json_body())))

    async def _embed(self, body: EmbeddingBody) -> None:
        inputs = await self._inputs(body)
        vectors = await self.engine.embed(body.model, inputs, self.caller)
        metrics.count_tokens(vectors.prompt_tokens)
        if body.dimensions and body.dimensions > vectors.length:
            raise InvalidRequest(
                f"{body.model} gives {vectors.length} dimensions; {body.dimensions} were asked "
                "for.",
                param="dimensions",
            )
        data = []
        for index, row in enumerate(_rows(vectors, body.dimensions)):
            embedding = _encoded(row, as_text=body.encoding_format == "base64")
            data.append({"object": "embedding", "index": index, "embedding": embedding})
            if index % _ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        usage = {"prompt_tokens": vectors.prompt_tokens, "total_tokens": vectors.prompt_tokens}
        self.set_header("x-npu-device", vectors.device)
        reply = {"object": "list", "data": data, "model": body.model, "usage": usage}
        self.finish(msgspec.json.encode(reply))

    async def _inputs(self, body: EmbeddingBody) -> list[str | list[int]]:
        """Give the engine texts, or ids that are surely the model's own."""
        ids = [item for item in body.input if isinstance(item, list)]
        if not ids or self.extensionapp.token_input == TokenInput.MODEL:
            return list(body.input)
        return list(await decode_cl100k(ids))


def _rows(vectors: Vectors, dimensions: int | None) -> Iterator[bytes]:
    row_bytes = vectors.length * _FLOAT_BYTES
    for start in range(0, len(vectors.data), row_bytes):
        row = vectors.data[start : start + row_bytes]
        cut = dimensions is not None and dimensions < vectors.length
        yield _shortened(row, dimensions) if cut and dimensions else row


def _shortened(row: bytes, dimensions: int) -> bytes:
    """Keep the first dimensions, and the length 1."""
    kept = _floats(row[: dimensions * _FLOAT_BYTES])
    norm = math.hypot(*kept) or 1.0
    return _bytes(array("f", [value / norm for value in kept]))


def _encoded(row: bytes, *, as_text: bool) -> msgspec.Raw:
    vector = base64.b64encode(row).decode() if as_text else _floats(row).tolist()
    return msgspec.Raw(msgspec.json.encode(vector))


def _floats(row: bytes) -> array[float]:
    values = array("f", row)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _bytes(values: array[float]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()
