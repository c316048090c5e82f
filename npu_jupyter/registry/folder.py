"""What a model's folder holds, read from its small files: no weights, no heavy library."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from npu_jupyter.errors import InvalidModel
from npu_jupyter.registry.records import ModelType

MODEL_XML = "openvino_model.xml"
TOKENIZER_XML = "openvino_tokenizer.xml"
EMBEDDING_FILES = (
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
"""What says how to make one vector of a text; kept next to the IR for the worker."""

_JSON_MAX_BYTES = 100_000_000
_POOLINGS = {"cls_token", "mean_tokens", "lasttoken"}
_MODULES = {"Transformer", "Pooling", "Normalize"}


class Form(StrEnum):
    """The form in which a model is found, before it is registered."""

    GGUF = "gguf"
    HUGGING_FACE = "Hugging Face folder"
    OPENVINO = "OpenVINO folder"


@dataclass(frozen=True, slots=True)
class Facts:
    """What config.json and its neighbours say."""

    type: ModelType
    architecture: str
    context_length: int | None
    vocab_size: int | None


def form_of(path: Path) -> Form | None:
    """Tell what lies at `path`, by the names of files alone."""
    if path.is_file():
        return Form.GGUF if path.suffix.lower() == ".gguf" else None
    if (path / MODEL_XML).is_file():
        return Form.OPENVINO
    if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
        return Form.HUGGING_FACE
    return None


def read_facts(folder: Path) -> Facts:
    """Read type, architecture and limits; raise `InvalidModel` for what cannot be served."""
    config = read_json(folder / "config.json")
    architectures = config.get("architectures") or []
    architecture = str(config.get("model_type") or "unknown")
    name = str(architectures[0]) if architectures else ""
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    assert text is not None
    positions = text.get("max_position_embeddings") or text.get("n_positions")
    if _is_embedder(folder):
        check_pooling(folder)
        kind, context = ModelType.EMBEDDING, _max_seq_length(folder) or positions
    elif name.endswith(("ForCausalLM", "LMHeadModel")):
        kind, context = ModelType.LLM, positions
    elif name.endswith(("Model", "ForMaskedLM")):
        raise InvalidModel(
            f"{folder.name} is an encoder ({name}) that does not say how its token vectors become "
            "one for a text. Put the 1_Pooling/config.json of its sentence-transformers form there."
        )
    else:
        raise InvalidModel(
            f"{folder.name} is a {name or architecture} model. Language models (…ForCausalLM) and "
            "sentence embedders (with 1_Pooling/config.json) can be served."
        )
    return Facts(kind, architecture, _integer(context), _integer(text.get("vocab_size")))


def parameter_count(folder: Path) -> int:
    """Count the weights' numbers from the headers of the safetensors files."""
    return sum(
        math.prod(tensor["shape"])
        for path in sorted(folder.glob("*.safetensors"))
        for tensor in _safetensors_header(path).values()
    )


def check_pooling(folder: Path) -> None:
    """Refuse an embedder whose vectors this engine would compute differently."""
    pooling_file = folder / "1_Pooling" / "config.json"
    if pooling_file.is_file():
        pooling = read_json(pooling_file)
        modes = {
            key.removeprefix("pooling_mode_")
            for key, value in pooling.items()
            if key.startswith("pooling_mode_") and value is True
        }
        if len(modes) != 1 or not modes <= _POOLINGS:
            raise InvalidModel(
                f"{folder.name} pools token vectors by {' and '.join(sorted(modes)) or 'nothing'}; "
                f"only one of {', '.join(sorted(_POOLINGS))} is supported."
            )
    modules_file = folder / "modules.json"
    if modules_file.is_file():
        modules = read_json(modules_file, of=list)
        kinds = {str(module.get("type", "")).rpartition(".")[2] for module in modules}
        if not kinds <= _MODULES:
            raise InvalidModel(
                f"{folder.name} passes its vectors through {', '.join(sorted(kinds - _MODULES))}, "
                f"which is not supported: only {', '.join(sorted(_MODULES))} are."
            )


def read_json(path: Path, of: type = dict) -> Any:
    """Read a small JSON file that others wrote; raise `InvalidModel` if it is damaged."""
    if not path.is_file():
        raise InvalidModel(
            f"{path.parent.name} has no {path.name}. Copy it from the original model."
        )
    if path.stat().st_size > _JSON_MAX_BYTES:
        raise InvalidModel(f"{path.name} is larger than {_JSON_MAX_BYTES} bytes.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{path.name} is damaged: {error}. Fetch it again.") from error
    if not isinstance(value, of):
        raise InvalidModel(f"{path.name} is damaged: it holds no {of.__name__}. Fetch it again.")
    return value


def _is_embedder(folder: Path) -> bool:
    return (folder / "modules.json").is_file() or (folder / "1_Pooling" / "config.json").is_file()


def _max_seq_length(folder: Path) -> int | None:
    path = folder / "sentence_bert_config.json"
    return _integer(read_json(path).get("max_seq_length")) if path.is_file() else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _safetensors_header(path: Path) -> dict[str, Any]:
    """Read which tensors a file announces; raise `InvalidModel` if they are not all there."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            # More than there is means damage, and must not be reserved.
            header: dict[str, Any] = json.loads(file.read(min(length, size)))
        header.pop("__metadata__", None)
        end = 8 + length + max(tensor["data_offsets"][1] for tensor in header.values())
    except (ValueError, KeyError, TypeError, IndexError, struct.error, RecursionError) as error:
        raise InvalidModel(f"{path.name} is damaged: {error}. Fetch it again.") from error
    if size < end:
        raise InvalidModel(
            f"{path.name} is cut short: it has {size} bytes of {end}. Fetch it again."
        )
    return header
