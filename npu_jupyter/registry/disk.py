"""Room on the disk: checked before the work, so that it does not end half-way."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from npu_jupyter.errors import InsufficientDisk, PermissionDenied

_GB = 1e9
REMEDY = "Free some space, or choose another place by Registry.data_dir or NPU_JUPYTER_DATA."


def ensure_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise `InsufficientDisk` if the disk of `folder` has less than `needed_bytes` free."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise InsufficientDisk(
            f"{what} needs {needed_bytes / _GB:.2f} GB and only {free / _GB:.2f} GB are free "
            f"at {folder}. {REMEDY}"
        )


@contextmanager
def disk_errors_told(folder: Path, what: str) -> Iterator[None]:
    """Turn the system's errors about files into ones that say what to do."""
    try:
        yield
    except PermissionError as error:
        raise PermissionDenied(
            f"{what} stopped: {error.filename} may not be read or written by this user."
        ) from error
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        free = shutil.disk_usage(folder).free
        raise InsufficientDisk(
            f"{what} filled the disk: {free / _GB:.2f} GB are left at {folder}. {REMEDY}"
        ) from error


def size_of(path: Path) -> int:
    """Count the bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
