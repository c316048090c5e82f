"""Adapters in PEFT's own form, of random numbers: enough to tell one from another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

LAYERS = 30
SHAPES = {
    "self_attn.q_proj": (576, 576),
    "self_attn.v_proj": (576, 192),
    "mlp.up_proj": (576, 1536),
    "mlp.down_proj": (1536, 576),
}
"""Inputs and outputs of some of SmolLM2-135M's layers."""


def write_adapter(
    folder: Path, *, seed: int = 1, r: int = 8, size: float = 0.02, **config: Any
) -> Path:
    """Write an adapter whose layers' scale is `lora_alpha` through `r`, 4 by default."""
    folder.mkdir(parents=True)
    numbers = np.random.default_rng(seed)
    tensors = {}
    for layer in range(LAYERS):
        for name, (inputs, outputs) in SHAPES.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            a = numbers.standard_normal((r, inputs)) / np.sqrt(inputs)
            b = numbers.standard_normal((outputs, r)) * size
            tensors[f"{prefix}.lora_A.weight"] = a.astype(np.float32)
            tensors[f"{prefix}.lora_B.weight"] = b.astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    facts = {"peft_type": "LORA", "r": r, "lora_alpha": 4 * r, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(facts | config), encoding="utf-8")
    return folder
