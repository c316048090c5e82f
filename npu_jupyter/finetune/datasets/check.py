"""Check a whole dataset in a process of its own, so that none can take the server's memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from npu_jupyter.errors import InvalidRequest, NpuError
from npu_jupyter.finetune.datasets.report import DatasetReport
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.registry.child import ChildDied, run_child
from npu_jupyter.registry.records import PullProgress

DEFAULT_MAX_LENGTH = 2048
"""Tokens to which rows are cut when nobody chose; the context may be many times that."""
_CHECKER = "npu_jupyter.finetune.datasets.checker"


class CheckRequest(msgspec.Struct):
    """What the child is told."""

    source: str
    """A path, or a repository of the hub as ``hf:org/name``."""
    tokenizer: str
    """Folder with the base's tokenizer."""
    max_length: int
    assistant_only_loss: bool
    columns: dict[str, str]
    format: str | None
    snapshot: str | None
    """Where to write the good rows in normal form."""
    max_bad_rows: int | None
    """More are an error; None is no limit, and no good row is needed either."""
    preview: int
    """Good rows to show, the first."""


def _say_nothing(_progress: PullProgress) -> None:
    """Take progress that nobody asked for."""


async def check_dataset(
    source: Path | str,
    *,
    tokenizer: Path,
    context_length: int,
    recipe: Recipe,
    columns: Mapping[str, str],
    format: str | None,  # noqa: A002 - the word that callers send
    snapshot: Path | None = None,
    max_bad_rows: int | None = 0,
    preview: int = 0,
    progress: Callable[[PullProgress], None] = _say_nothing,
) -> DatasetReport:
    """Read, check and render every row of `source`; write the good ones to `snapshot`.

    `source` is a path, or a repository of the hub as ``hf:org/name``. `columns` maps our names
    to the dataset's. With `max_bad_rows` None the report tells of bad rows, however many.
    Cancelling ends the child. `progress` is called from another thread.

    Raises:
        InvalidRequest: the dataset cannot be read, it is ambiguous what its columns mean, more
            rows are bad than `max_bad_rows`, or no row is good; it names each reason with lines.
        NotFound: there is no such file or repository, or not any more.
        MissingExtra: the packages of ``[finetune]`` are not installed.
    """
    request = CheckRequest(
        source=str(source),
        tokenizer=str(tokenizer),
        max_length=_max_length(recipe, context_length),
        assistant_only_loss=recipe.assistant_only_loss,
        columns=dict(columns),
        format=format,
        snapshot=None if snapshot is None else str(snapshot),
        max_bad_rows=max_bad_rows,
        preview=preview,
    )
    return await _in_child(request, progress)


def _max_length(recipe: Recipe, context_length: int) -> int:
    if recipe.max_length > context_length:
        raise InvalidRequest(
            f"max_length is {recipe.max_length:,}; this model reads {context_length:,} tokens.",
            param="max_length",
        )
    return recipe.max_length or min(context_length, DEFAULT_MAX_LENGTH)


async def _in_child(
    request: CheckRequest, progress: Callable[[PullProgress], None]
) -> DatasetReport:
    cancelled = threading.Event()

    def run() -> DatasetReport:
        told = msgspec.to_builtins(request)
        result = run_child(_CHECKER, told, report=progress, cancelled=cancelled)
        return msgspec.convert(result, DatasetReport)

    work = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([work])  # the child is gone when this returns
        work.exception()
        raise
    except ChildDied as error:
        raise NpuError(f"Checking the dataset broke off. {error.message}") from error
