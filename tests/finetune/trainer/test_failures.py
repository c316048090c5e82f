"""Whatever ends training is told in a sentence that helps."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import sqlalchemy
import torch

from npu_jupyter.errors import InsufficientDisk, InsufficientMemory, InvalidRequest, NpuError
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.trainer.failures import in_words

_MUCH = 10**14
_LIMIT_BYTES = 100_000


def told(work: Callable[[], Any], tmp_path: Path, recipe: Recipe | None = None) -> NpuError:
    with pytest.raises(Exception) as error:  # noqa: PT011 - which one is the question
        work()
    return in_words(error.value, recipe, tmp_path)


@pytest.mark.parametrize(
    "work", [lambda: torch.empty(_MUCH), lambda: np.empty(_MUCH, dtype=np.int64)]
)
def test_memory(work: Callable[[], Any], tmp_path: Path) -> None:
    error = told(work, tmp_path, Recipe(max_length=2048))
    assert isinstance(error, InsufficientMemory)
    assert "GB are free now" in error.message
    assert "Lower max_length (it is 2,048), or set quantize_base to true." in error.message
    whole = told(work, tmp_path, Recipe(use_lora=False, packing=False, batch_size=9))
    assert "lower batch_size (it is 9), or set use_lora to true" in whole.message


def write_plainly(path: Path) -> None:
    path.write_bytes(bytes(2 * _LIMIT_BYTES))


def write_by_torch(path: Path) -> None:
    torch.save(torch.zeros(_LIMIT_BYTES), path)


def write_by_safetensors(path: Path) -> None:
    safetensors.torch.save_file({"x": torch.zeros(_LIMIT_BYTES)}, path)


def fill_a_database() -> None:
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 2")
        for number in range(9):
            connection.exec_driver_sql(f"CREATE TABLE t{number} (x)")


def test_a_full_database(tmp_path: Path) -> None:
    assert_disk(told(fill_a_database, tmp_path))


def assert_disk(error: NpuError) -> None:
    assert isinstance(error, InsufficientDisk)
    assert "The disk filled up" in error.message
    assert "resume the job" in error.message


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on files, which Windows has not")
@pytest.mark.parametrize("write", [write_plainly, write_by_torch, write_by_safetensors])
def test_a_full_disk(write: Callable[[Path], Any], tmp_path: Path) -> None:
    import resource

    whole = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT_BYTES, whole[1]))
    try:
        error = told(lambda: write(tmp_path / "file"), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, whole)
    assert_disk(error)


def test_what_has_words_keeps_them(tmp_path: Path) -> None:
    error = InvalidRequest("Line 3: it holds nothing to learn")
    assert in_words(error, None, tmp_path) is error


def test_anything_else_is_one_line(tmp_path: Path) -> None:
    error = in_words(KeyError("x\ny"), None, tmp_path)
    assert "KeyError" in error.message
    assert "\n" not in error.message
    other = in_words(OSError(errno.EACCES, "Permission denied", "x"), None, tmp_path)
    assert "Permission denied" in other.message
