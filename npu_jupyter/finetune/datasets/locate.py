"""Find the dataset that a caller names, within what he may read."""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path

from npu_jupyter.errors import InvalidRequest, NotFound, PermissionDenied, RequestTooLarge
from npu_jupyter.registry.disk import size_of

HUB = "hf:"
"""What names a repository of the hub rather than a path."""
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)
_FOLDER_MARKS = ("dataset_info.json", "dataset_dict.json")
"""Files of a folder that datasets' save_to_disk wrote, one or the other."""
_MIB = 2**20
DEFAULT_MAX_MIB = 4096


def locate(dataset: str, roots: Sequence[Path], *, max_mib: int = DEFAULT_MAX_MIB) -> Path | str:
    """Give the file or folder that `dataset` names below one of `roots`.

    A path is absolute, or relative to a root. ``hf:org/name`` names a repository of the hub and
    is given back, as is ``org/name`` where no root has such a file. 0 MiB is no limit. What lies
    outside the roots is refused in the same words whether it exists or not.

    Raises:
        PermissionDenied: it is not below a root, if only by a link.
        NotFound: the roots have no such file.
        InvalidRequest: it is neither a regular file nor a folder of the datasets library.
        RequestTooLarge: it is larger than `max_mib`; nothing of it was read.
    """
    if dataset.startswith(HUB):
        if not _REPOSITORY.fullmatch(dataset.removeprefix(HUB)) or ".." in dataset:
            raise InvalidRequest(
                f"{dataset!r} is no repository of the form hf:org/name.", param="dataset"
            )
        return dataset
    allowed = [root.expanduser().resolve() for root in roots]
    inside = [path for path in _meant(dataset, allowed) if _is_below(path, allowed)]
    for path in inside:
        if path.exists():
            _check(path, dataset, allowed, max_mib)
            return path
    if (inside or not allowed) and _REPOSITORY.fullmatch(dataset) and ".." not in dataset:
        return HUB + dataset
    if inside:
        raise NotFound(f"There is no file {dataset!r}.", param="dataset")
    where = ", ".join(str(root) for root in allowed) or "none; set c.Datasets.roots"
    raise PermissionDenied(
        f"{dataset!r} is not below a folder from which datasets may be read ({where}), and no "
        "dataset of that name was uploaded. Upload it: PUT /api/npu/datasets/{name}.",
        param="dataset",
    )


def _meant(dataset: str, roots: Sequence[Path]) -> list[Path]:
    """Resolve what `dataset` may mean, links included."""
    try:
        path = Path(dataset).expanduser()
        candidates = [path] if path.is_absolute() else [root / path for root in roots]
        return [candidate.resolve() for candidate in candidates]
    except (OSError, RuntimeError, ValueError):  # a loop of links, no such user, a null byte
        return []


def _is_below(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _check(path: Path, dataset: str, roots: Sequence[Path], max_mib: int) -> None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            _check_folder(path, dataset, roots)
        elif not stat.S_ISREG(mode):
            raise InvalidRequest(
                f"{dataset!r} is neither a file nor a folder, so it cannot be a dataset.",
                param="dataset",
            )
        size = size_of(path)
    except OSError as error:
        raise NotFound(f"{dataset!r} cannot be read: {error.strerror}.", param="dataset") from error
    if max_mib and size > max_mib * _MIB:
        raise RequestTooLarge(
            f"{dataset!r} has {size / _MIB:,.0f} MiB; datasets may have {max_mib:,}. Train on a "
            "part of it, or raise Datasets.max_mib.",
            param="dataset",
        )


def _check_folder(path: Path, dataset: str, roots: Sequence[Path]) -> None:
    if not any((path / mark).is_file() for mark in _FOLDER_MARKS):
        raise InvalidRequest(
            f"{dataset!r} is a folder, and not one that datasets' save_to_disk wrote. Name a file "
            "in it.",
            param="dataset",
        )
    for file in path.rglob("*"):
        if not _is_below(file.resolve(), roots) or not (file.is_file() or file.is_dir()):
            raise PermissionDenied(
                f"The folder {dataset!r} links to what may not be read.", param="dataset"
            )
