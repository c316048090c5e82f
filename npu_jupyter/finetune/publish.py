"""From what was trained to a model that is listed and answers."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

from npu_jupyter.errors import InvalidModel
from npu_jupyter.registry.check import Checked
from npu_jupyter.registry.disk import disk_errors_told
from npu_jupyter.registry.importing import CheckedModel
from npu_jupyter.registry.incoming import Incoming
from npu_jupyter.registry.records import (
    SERVED_ADAPTER,
    ModelFormat,
    ModelRecord,
)
from npu_jupyter.registry.sources.source import digest
from npu_jupyter.registry.store import Registry

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_LORA_B = ".lora_B.weight"
_LAYER = re.compile(r"\.lora_[AB]\.weight$")


def publish_adapter(
    registry: Registry, name: str, adapter: Path, base: ModelRecord, source: str
) -> ModelRecord:
    """Register PEFT's folder `adapter` as a model whose parent is `base`.

    `source` says where it came from. Nothing is registered unless all of it is. The name gets a
    number when another model has taken it in the meantime: training is not to be lost for that.

    Raises:
        InvalidModel: when the engine could not serve it as it was trained.
        InsufficientDisk: when there is no room for it.
    """
    incoming = Incoming(registry.root)
    try:
        with disk_errors_told(incoming.folder, f"Publishing {name}"):
            place = incoming.folder / "model"
            shutil.copytree(adapter, place)
            write_served(place, place / SERVED_ADAPTER)
            model = CheckedModel(
                name=free_name(registry, name),
                format=ModelFormat.ADAPTER,
                path=place,
                source=source,
                fingerprint=digest(place, Event()),
                facts=Checked(
                    type=base.type,
                    architecture=base.architecture or "",
                    precision="lora",
                    context_length=base.context_length,
                    chat_template=True,
                ),
                in_place=False,
                parent_id=base.id,
            )
            return registry.add(model, incoming)
    finally:
        incoming.close()


def write_served(adapter: Path, target: Path) -> None:
    """Write the adapter in PEFT's folder `adapter` in the form in which the engine applies it.

    The engine does not read adapter_config.json: each layer's own scale (lora_alpha through the
    rank, or its root for rsLoRA) is multiplied into its ``lora_B``.

    Raises:
        InvalidModel: for what the engine would load and apply wrongly.
    """
    config = json.loads((adapter / _CONFIG).read_text(encoding="utf-8"))
    _refuse_unservable(config)
    tensors: dict[str, npt.NDArray[Any]] = {}
    with safe_open(adapter / _WEIGHTS, framework="numpy") as weights:
        for name in weights.keys():  # noqa: SIM118 - no mapping
            if not (name.startswith(_PREFIX) and _LAYER.search(name)):
                raise InvalidModel(
                    f"The adapter has {name}, which the engine does not apply. Merge it instead."
                )
            tensor = weights.get_tensor(name).astype(np.float32)
            if name.endswith(_LORA_B):
                tensor *= _scale(config, name, rank=tensor.shape[1])
            tensors[name] = tensor
    save_file(tensors, target)


def _refuse_unservable(config: dict[str, Any]) -> None:
    features = {
        "use_dora": "DoRA",
        "modules_to_save": "modules trained whole",
        "lora_bias": "a bias",
        "trainable_token_indices": "trained tokens",
        "target_parameters": "trained parameters",
    }
    found = [label for key, label in features.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        found.append("a bias")
    if found:
        raise InvalidModel(
            f"The engine cannot apply an adapter with {' and '.join(found)}. Merge it instead."
        )


def _scale(config: dict[str, Any], name: str, *, rank: int) -> float:
    """Compute a layer's scale as PEFT does: patterns match the end of the layer's name."""
    layer = name.removeprefix(_PREFIX).removesuffix(_LORA_B)
    alpha = next(
        (
            value
            for pattern, value in (config.get("alpha_pattern") or {}).items()
            if re.match(rf"(.*\.)?({pattern})$", layer)
        ),
        config["lora_alpha"],
    )
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def free_name(registry: Registry, name: str) -> str:
    """Give `name`, or one with a number when another model has taken it."""
    taken = {record.name for record in registry.models()}
    return next(
        candidate
        for candidate in (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3)))
        if candidate not in taken
    )
