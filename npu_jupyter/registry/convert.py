"""Turn a Hugging Face folder or a GGUF file into OpenVINO IR, in a child process."""

from __future__ import annotations

import importlib.util
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from npu_jupyter.errors import InvalidModel, InvalidRequest, MissingExtra
from npu_jupyter.registry.child import ChildDied, run_child
from npu_jupyter.registry.disk import ensure_space
from npu_jupyter.registry.records import ModelType

if TYPE_CHECKING:  # sources ask whether there is a converter
    from npu_jupyter.registry.sources.source import Workspace

_LIBRARIES = ("torch", "transformers", "optimum", "nncf")
_INT8_MAX_PARAMETERS = 1_000_000_000
_FP16_BYTES = 2


class Precision(StrEnum):
    """How a converted model's weights are stored."""

    INT4 = "int4"
    INT8 = "int8"
    FP16 = "fp16"


_BYTES = {Precision.INT4: 0.6, Precision.INT8: 1.05, Precision.FP16: 2.0}
"""For each weight, scales included."""


def parse_precision(text: str | None) -> Precision | None:
    """Read a precision as a user writes it."""
    try:
        return None if text is None else Precision(text)
    except ValueError:
        raise InvalidRequest(
            f"{text!r} is no precision: choose {', '.join(Precision)}.", param="precision"
        ) from None


def default_precision(kind: ModelType, parameters: int) -> Precision:
    """Choose int4 where memory counts; small models and embedders lose too much by it."""
    if kind is ModelType.EMBEDDING or parameters <= _INT8_MAX_PARAMETERS:
        return Precision.INT8
    return Precision.INT4


def require_converter() -> None:
    """Raise `MissingExtra` before a long download that could not be used."""
    if any(importlib.util.find_spec(name) is None for name in _LIBRARIES):
        raise MissingExtra("Converting a model", "convert")


def convert_model(
    source: Path,
    out: Path,
    *,
    kind: ModelType,
    precision: Precision,
    parameters: int,
    trust_remote_code: bool,
    workspace: Workspace,
    rounded: bool = False,
) -> None:
    """Write the IR of `source`, a GGUF file or Hugging Face folder, to the new folder `out`.

    A GGUF file is unpacked to ``convert/hugging-face`` in the workspace's folder on the way;
    `rounded` leaves there the weights that int8 can hold.
    """
    require_converter()
    copies = 2 * _FP16_BYTES if source.is_file() else _FP16_BYTES
    needed = int(parameters * (copies + _BYTES[precision]))
    ensure_space(workspace.folder, needed, f"Converting {source.name} to {precision}")
    work = workspace.folder / "convert"
    work.mkdir()
    request = {
        "source": str(source),
        "work": str(work),
        "out": str(out),
        "type": kind,
        "precision": precision,
        "trust_remote_code": trust_remote_code,
        "rounded": rounded,
    }
    try:
        run_child(
            "npu_jupyter.registry.converter",
            request,
            report=workspace.report,
            cancelled=workspace.cancelled,
        )
    except ChildDied as error:
        raise InvalidModel(
            f"The conversion of {source.name} ended early. {error.message} Converting takes "
            f"about {parameters * 2 * _FP16_BYTES / 1e9:.1f} GB of memory; free some, or pull a "
            "model that is in OpenVINO form already."
        ) from error
