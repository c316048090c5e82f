"""Adapters merged into their bases: models that need nobody to apply anything."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

_WEIGHTS = (".safetensors", ".bin", ".index.json")
_CONFIGURATION = ("config.json", "generation_config.json")


def merge(base: Path, adapter: Path) -> Any:
    """Read the Hugging Face folder `base` and add PEFT's folder `adapter` to its weights.

    In full precision, and never into a base that was quantised for training: what is lost
    there by rounding is what was learned.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(whole, adapter).merge_and_unload()


def save_whole(model: Any, base: Path, out: Path) -> None:
    """Save a whole model in Hugging Face form in the folder `out`, with all that its base has."""
    model.to(_stored_dtype(base)).save_pretrained(out)
    for file in base.iterdir():
        if not file.name.endswith(_WEIGHTS) and file.name not in _CONFIGURATION:
            shutil.copyfile(file, out / file.name)


def _stored_dtype(folder: Path) -> torch.dtype:
    from transformers import AutoConfig

    dtype: Any = AutoConfig.from_pretrained(folder).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float16
