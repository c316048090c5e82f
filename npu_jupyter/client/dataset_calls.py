"""Datasets for fine-tuning: what is sent, and what a check tells. Once, for both clients."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from npu_jupyter.client import views
from npu_jupyter.client.calls import Call
from npu_jupyter.errors import InvalidRequest

_DIGEST_LENGTH = 12


class Dataset(Struct, frozen=True, kw_only=True):
    """A dataset that was sent to the server."""

    name: str
    size_bytes: int = 0


class BadRows(Struct, frozen=True, kw_only=True):
    """Rows that cannot be used for the same reason."""

    reason: str
    count: int
    lines: list[int] = field(default_factory=list)
    """The first of them."""


class PreviewRow(Struct, frozen=True, kw_only=True):
    """One row as the model will read it."""

    line: int
    segments: list[dict[str, Any]] = field(default_factory=list)
    """``{"text", "learned"}`` one after the other."""
    tokens: int = 0
    learned_tokens: int = 0
    cut_tokens: int = 0


class DatasetReport(views.Shown, Struct, frozen=True, kw_only=True):
    """A dataset, checked row by row for one model."""

    found: str = ""
    """What was detected, and why, in words."""
    format: str = ""
    unit: str = "row"
    """What numbers of rows count: line or row."""
    rows: int = 0
    good_rows: int = 0
    bad_rows: int = 0
    reasons: list[BadRows] = field(default_factory=list)
    tokens: dict[str, int] | None = None
    """``min``, ``median``, ``p95``, ``max``, ``total`` and ``learned``."""
    max_length: int = 0
    cut_rows: int = 0
    duplicates: int = 0
    warnings: list[str] = field(default_factory=list)
    preview: list[PreviewRow] = field(default_factory=list)

    def _view(self) -> views.Table:
        return views.report_table(self)


def datasets() -> Call[list[Dataset]]:
    """List the datasets that were sent."""
    return Call(
        "GET",
        "/api/npu/datasets",
        lambda answer: msgspec.convert(answer["datasets"], list[Dataset], strict=False),
    )


def upload(name: str, content: bytes) -> Call[Dataset]:
    """Send a dataset, over one of the same name."""
    return Call(
        "PUT",
        f"/api/npu/datasets/{quote(name, safe='')}",
        lambda answer: msgspec.convert(answer, Dataset, strict=False),
        content=content,
        content_type="application/octet-stream",
    )


def remove(name: str) -> Call[None]:
    """Remove a dataset that was sent."""
    return Call("DELETE", f"/api/npu/datasets/{quote(name, safe='')}", lambda _answer: None)


def check(model: str | int, dataset: str, settings: dict[str, Any]) -> Call[DatasetReport]:
    """Read and render every row for a model, and start nothing."""
    named = {"model_id": model} if isinstance(model, int) else {"model": model}
    return Call(
        "POST",
        "/api/npu/datasets/check",
        lambda answer: msgspec.convert(answer, DatasetReport, strict=False),
        {**named, "dataset": dataset, **settings},
    )


def to_send(dataset: Any) -> tuple[str, bytes]:
    """Give name and content of a dataset that is here.

    A DataFrame and a list of rows become JSON lines; a path is read.

    Raises:
        InvalidRequest: it is nothing of these, or holds no row.
    """
    if isinstance(dataset, str | Path):
        try:
            return Path(dataset).name, Path(dataset).read_bytes()
        except OSError as error:
            raise InvalidRequest(f"{dataset} cannot be read: {error}.", param="dataset") from None
    if hasattr(dataset, "to_json") and hasattr(dataset, "columns"):
        content = dataset.to_json(orient="records", lines=True, force_ascii=False).encode()
    elif isinstance(dataset, list) and all(isinstance(row, Mapping) for row in dataset):
        content = b"".join(msgspec.json.encode(row) + b"\n" for row in dataset)
    else:
        raise InvalidRequest(
            "dataset must be a name, a path, a DataFrame or a list of dicts, not "
            f"{type(dataset).__name__}.",
            param="dataset",
        )
    if not content.strip():
        raise InvalidRequest("The dataset has no rows.", param="dataset")
    digest = hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]
    return f"frame-{digest}.jsonl", content
