"""LoRA adapters as openvino_genai takes them."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai
from safetensors.numpy import save_file

from npu_jupyter.errors import InvalidModel, LoadFailed
from npu_jupyter.registry.folder import MODEL_XML

_MAX_IN_MEMORY = 16
_LAYER_PREFIX = "__module."


def adapter_config(path: str) -> genai.AdapterConfig:
    """Give what applies the adapter in the file `path`, whose scale is in its weights.

    An empty path is the base alone.

    Raises:
        LoadFailed: when the file cannot be read.
    """
    return genai.AdapterConfig(_read(path), 1.0) if path else genai.AdapterConfig()


def placeholder(folder: str) -> genai.AdapterConfig:
    """Give what has a pipeline compiled so that any adapter can be applied later.

    It is an adapter of rank 1 and all zeros over every linear layer of the IR in `folder`: a
    layer that is compiled without can never get one.

    Raises:
        InvalidModel: when the IR names no layers as PyTorch does.
    """
    # Windows does not delete a file that is mapped into memory.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        file = Path(place) / "placeholder.safetensors"
        _write_placeholder(Path(folder), file)
        return genai.AdapterConfig(genai.Adapter(str(file)), 0.0)


@lru_cache(_MAX_IN_MEMORY)
def _read(path: str) -> genai.Adapter:
    try:
        return genai.Adapter(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise LoadFailed(
            f"The adapter's file {Path(path).name} cannot be read: {reason}"
        ) from error


def _write_placeholder(folder: Path, target: Path) -> None:
    tensors = {}
    for layer, outputs, inputs in _linear_layers(folder / MODEL_XML):
        name = f"base_model.model.{layer}"
        tensors[f"{name}.lora_A.weight"] = np.zeros((1, inputs), np.float32)
        tensors[f"{name}.lora_B.weight"] = np.zeros((outputs, 1), np.float32)
    if not tensors:
        raise InvalidModel(f"{folder.name} names no layers to which an adapter could be applied.")
    save_file(tensors, target)


def _linear_layers(xml: Path) -> list[tuple[str, int, int]]:
    """List the layers that multiply by weights: name, outputs, inputs."""
    layers = []
    for op in ov.Core().read_model(xml).get_ops():
        name = op.get_friendly_name()
        if op.get_type_name() != "MatMul" or not name.startswith(_LAYER_PREFIX):
            continue
        layer = name.removeprefix(_LAYER_PREFIX).partition("/")[0]
        shape = op.input_value(1).get_partial_shape()
        if len(shape) == 2 and shape.is_static:  # noqa: PLR2004 - a matrix
            outputs, inputs = (
                (shape[0], shape[1]) if op.get_attributes()["transpose_b"] else (shape[1], shape[0])
            )
            layers.append((layer, outputs.get_length(), inputs.get_length()))
    return layers
