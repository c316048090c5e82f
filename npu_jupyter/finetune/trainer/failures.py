"""Why training ended, in a sentence for the one who started it."""

from __future__ import annotations

import errno
from pathlib import Path

import psutil
import torch
from sqlalchemy.exc import OperationalError

from npu_jupyter.errors import InsufficientDisk, InsufficientMemory, NpuError
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.registry.disk import REMEDY

_GB = 1e9
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_SPACE_WORDS = ("no space left", "disk is full", "quota exceeded", "file too large")
_TORCH_CANNOT_WRITE = ("PytorchStreamWriter", "inline_container")
_NO_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")


def in_words(error: BaseException, recipe: Recipe | None, folder: Path) -> NpuError:
    """Give the error that says what happened and what to do next.

    torch, safetensors and SQLite each have a way of their own to say that memory or the disk of
    `folder` is full.
    """
    if isinstance(error, NpuError):
        return error
    if _is_memory(error):
        return InsufficientMemory(_memory_words(error, recipe))
    if _is_disk(error):
        free = psutil.disk_usage(str(folder)).free
        return InsufficientDisk(
            f"The disk filled up: {free / _GB:.2f} GB are left at {folder}. {REMEDY} Then resume "
            "the job: it goes on from its last whole checkpoint."
        )
    line = (str(error).strip().splitlines() or [""])[0]
    return NpuError(
        f"Training ended with an error that nobody foresaw: {type(error).__name__}"
        f"{': ' if line else ''}{line}. More is in the job's log."
    )


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in words for word in _NO_MEMORY_WORDS)


def _is_disk(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    words = str(error)
    if isinstance(error, RuntimeError) and any(word in words for word in _TORCH_CANNOT_WRITE):
        return True
    told = isinstance(error, OperationalError) or type(error).__name__ == "SafetensorError"
    return told and any(word in words.lower() for word in _NO_SPACE_WORDS)


def _memory_words(error: BaseException, recipe: Recipe | None) -> str:
    memory = psutil.virtual_memory()
    wanted = (str(error).strip().splitlines() or ["it could not have what it asked for"])[0]
    advice = "Lower max_length"
    if recipe is not None:
        if recipe.max_length:
            advice += f" (it is {recipe.max_length:,})"
        if not recipe.packing:
            advice += f", lower batch_size (it is {recipe.batch_size})"
        if not recipe.use_lora:
            advice += ", or set use_lora to true"
        elif not recipe.quantize_base:
            advice += ", or set quantize_base to true"
    return (
        f"Training ran out of memory: {wanted} {memory.available / _GB:.1f} GB of "
        f"{memory.total / _GB:.1f} GB are free now. {advice}."
    )
