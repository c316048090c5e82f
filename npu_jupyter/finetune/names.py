"""The names of what jobs make: ``base:suffix``."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from pathlib import PurePath

from npu_jupyter.errors import Conflict, InvalidRequest
from npu_jupyter.registry.names import NAME_MAX_LENGTH, is_name, name_from_stem

MAX_SUFFIX_LENGTH = 64
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DEFAULT = "tuned"
_DEFAULT_LENGTH = 40
"""Room is left for a number, and for the name of the base."""


def resulting_name(
    base: str, suffix: str | None, dataset: str, taken: Callable[[str], bool]
) -> str:
    """Name the model that a job makes; without a suffix, after its dataset.

    Raises:
        InvalidRequest: when no model can be named so.
        Conflict: when a model or a job has the name already.
    """
    if suffix is not None:
        name = _checked(base, suffix)
        if taken(name):
            raise Conflict(
                f"{name} is there already, or a job makes it. Choose another suffix, or remove "
                f"it: jupyter npu remove {name}",
                param="suffix",
            )
        return name
    stem = (name_from_stem(PurePath(dataset).stem) or _DEFAULT)[:_DEFAULT_LENGTH]
    first = _checked(base, stem if _SUFFIX.fullmatch(stem) else _DEFAULT)
    candidates = (first if number == 1 else f"{first}-{number}" for number in count(1))
    return next(name for name in candidates if not taken(name))


def _checked(base: str, suffix: str) -> str:
    name = f"{base}:{suffix}"
    if not _SUFFIX.fullmatch(suffix) or not is_name(name):
        raise InvalidRequest(
            f"suffix {suffix!r} cannot end a model's name: letters, digits and . _ - are allowed, "
            f"{MAX_SUFFIX_LENGTH} at most, beginning with a letter or digit; with its base's the "
            f"name may have {NAME_MAX_LENGTH} characters.",
            param="suffix",
        )
    return name
