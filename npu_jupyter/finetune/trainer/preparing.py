"""All that training needs, loaded and measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.trainer import model as models
from npu_jupyter.finetune.trainer.batches import Layout, StepSampler
from npu_jupyter.finetune.trainer.estimate import Estimate, Estimator
from npu_jupyter.finetune.trainer.examples import (
    Examples,
    Tokens,
    max_length,
    read_examples,
    split,
)
from npu_jupyter.finetune.trainer.loss import packing_is_exact
from npu_jupyter.finetune.trainer.memory import give_back_freed
from npu_jupyter.finetune.trainer.model import Compute

_PROBED_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Data:
    """What is learned and what is held out, by index in `examples`."""

    examples: Examples
    learned: list[int]
    held_out: list[int]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model with what it learns, ready to train."""

    model: Any
    tokenizer: Any
    data: Data
    compute: Compute
    layout: Layout
    sampler: StepSampler
    total_steps: int
    estimate: Estimate


def prepare(
    base: Path,
    rows: Path,
    recipe: Recipe,
    *,
    context_length: int | None = None,
    available_bytes: int | None = None,
) -> Prepared:
    """Load the Hugging Face folder `base` and the snapshot `rows`, and see that training fits.

    `available_bytes` is the memory that training may take, else what is free.

    Raises:
        NpuError: when a row, the model or the recipe cannot be used, or memory is short.
    """
    tokenizer = AutoTokenizer.from_pretrained(base)
    longest = max_length(recipe, context_length)
    examples = read_examples(rows, tokenizer, recipe, longest)
    data = Data(examples, *split(examples, recipe))
    compute = models.choose_compute()
    model = models.load(base, recipe, compute)
    layout = Layout(
        packing=recipe.packing and _packs_exactly(model, data, compute),
        rows=recipe.batch_size,
        pad_token=tokenizer.pad_token_id or 0,
    )
    if compute.bf16 and recipe.use_lora:
        models.store_frozen_in_bf16(model)
    give_back_freed()
    sampler = StepSampler(
        data.learned, recipe.batch_size * recipe.gradient_accumulation_steps, recipe.seed
    )
    total_steps = recipe.max_steps or math.ceil(recipe.epochs * len(sampler))
    estimator = Estimator(
        model,
        examples,
        recipe,
        compute=compute,
        layout=layout,
        available_bytes=available_bytes,
    )
    estimate = estimator.run(sampler.steps(epoch=0), total_steps)
    return Prepared(model, tokenizer, data, compute, layout, sampler, total_steps, estimate)


def _packs_exactly(model: Any, data: Data, compute: Compute) -> bool:
    """Try packing with the beginnings of the first two examples."""
    probes = []
    for index in data.learned[:2]:
        tokens = data.examples[index]
        learned = tokens.learned[:_PROBED_TOKENS].copy()
        learned[1:] = True  # what the first cannot leak into is of no use
        probes.append(Tokens(tokens.ids[:_PROBED_TOKENS], learned))
    with compute.autocast():
        return packing_is_exact(model, probes, model.device)
