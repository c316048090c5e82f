"""The model that is trained: where and in which precision, with an adapter or whole."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM, set_seed

from npu_jupyter.errors import InvalidModel, InvalidRequest, MissingExtra
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.trainer import attention

ALL_LINEAR = "all-linear"
"""peft's name for every linear layer but the head."""
_BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "sve_bf16")


@dataclass(frozen=True, slots=True)
class Compute:
    """Where training runs."""

    device: str
    """cpu, cuda or xpu."""
    bf16: bool
    """Whether matrices are multiplied in bfloat16; weights that are trained stay in float32."""

    @property
    def precision(self) -> str:
        """Name what matrices are multiplied in."""
        return "bf16" if self.bf16 else "fp32"

    def autocast(self) -> torch.autocast:
        """Open the context in which the model computes outside the Trainer."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16)


def choose_compute() -> Compute:
    """Take a GPU that torch sees, else the processor, with all its cores.

    bfloat16 on a processor without instructions for it is tens to hundreds of times slower
    than float32.
    """
    if torch.cuda.is_available():
        return Compute("cuda", torch.cuda.is_bf16_supported())
    if torch.xpu.is_available():
        return Compute("xpu", torch.xpu.is_bf16_supported())
    if "OMP_NUM_THREADS" not in os.environ:
        cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
        torch.set_num_threads(min(cores, usable))
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return Compute("cpu", any(known.get(name) for name in _BF16_INSTRUCTIONS))


def load(folder: Path, recipe: Recipe, compute: Compute) -> Any:
    """Load a Hugging Face folder as `recipe` trains it, with a new adapter if it does that.

    Raises:
        InvalidModel: when transformers cannot load it.
        InvalidRequest: when the recipe names layers that the model has not.
        MissingExtra: when the recipe needs packages that are not installed.
    """
    attention.register()
    options: dict[str, Any] = {"dtype": torch.float32}
    if recipe.quantize_base:
        options |= _quantised(compute)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation=attention.PACKED_ATTENTION, **options
        )
    except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise InvalidModel(f"transformers cannot load this model to train: {error}") from error
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        name = type(model).__name__
        raise InvalidModel(f"{name} is of an architecture that cannot be trained here.")
    model.config.use_cache = False
    if not recipe.quantize_base:
        model.to(torch.device(compute.device))  # type: ignore[arg-type]
    if not recipe.use_lora:
        return model
    set_seed(recipe.seed)
    return _with_adapter(model, recipe)


def _quantised(compute: Compute) -> dict[str, Any]:
    try:
        import bitsandbytes  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra("QLoRA", "qlora") from error
    from transformers import BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if compute.bf16 else torch.float32,
    )
    return {"quantization_config": nf4, "device_map": {"": compute.device}}


def _with_adapter(model: Any, recipe: Recipe) -> Any:
    try:
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    except ModuleNotFoundError as error:
        raise MissingExtra("Fine-tuning", "finetune") from error
    if recipe.quantize_base:
        _keep_differentiable(model)
        prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)  # type: ignore[no-untyped-call]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        use_rslora=recipe.use_rslora,
        use_dora=recipe.use_dora,
        target_modules=list(recipe.target_modules) or ALL_LINEAR,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        linear = {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        raise InvalidRequest(
            f"No adapter can be put on {', '.join(recipe.target_modules)}. "
            f"The model's linear layers are {', '.join(sorted(linear))}.",
            param="target_modules",
        ) from error


def _keep_differentiable(model: Any) -> None:
    """Keep bitsandbytes from laying weights out anew for the processor when a model is evaluated.

    It does not lay them back, and through that layout no gradient flows, without a word.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def store_frozen_in_bf16(model: Any) -> None:
    """Hold what is multiplied in bfloat16 in bfloat16, where training does not change it.

    Autocast would make the same numbers anew for each micro-batch.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            layer = module.get_base_layer()
            if isinstance(layer, torch.nn.Linear) and layer.weight.dtype is torch.float32:
                layer.weight.data = layer.weight.data.to(torch.bfloat16)
