"""Check a model before it is registered, in a child process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from npu_jupyter.errors import InvalidModel
from npu_jupyter.registry.child import ChildDied, run_child
from npu_jupyter.registry.records import ModelType
from npu_jupyter.registry.sources import Workspace


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check found out about a model."""

    type: ModelType
    architecture: str
    precision: str
    context_length: int | None
    chat_template: bool


def check_model(
    name: str, path: Path, reference: Path, workspace: Workspace, timeout_s: float
) -> Checked:
    """Check files, tokenizer and a first answer of the GGUF file or IR folder at `path`.

    `reference` is the GGUF file, or the folder with the tokenizer.json, that the model was made
    with. Raises `InvalidModel` with what is wrong and what to do.
    """
    request = {"name": name, "path": str(path), "reference": str(reference)}
    try:
        result = run_child(
            "npu_jupyter.registry.checker",
            request,
            report=workspace.report,
            cancelled=workspace.cancelled,
            timeout_s=timeout_s,
        )
    except ChildDied as error:
        raise InvalidModel(
            f"{name} brought down the process that tried it. {error.message} The files may be "
            "damaged, or the memory too small."
        ) from error
    return Checked(**{**result, "type": ModelType(result["type"])})
