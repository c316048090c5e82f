"""Packed examples do not see each other, and what is learned does not depend on packing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.trainer import attention
from npu_jupyter.finetune.trainer.batches import PACKED_TOKENS, Layout
from npu_jupyter.finetune.trainer.examples import Examples, Tokens, read_examples
from npu_jupyter.finetune.trainer.loss import packing_is_exact, summed_loss

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def examples(tiny: Path, rows: Path) -> Examples:
    return read_examples(rows, AutoTokenizer.from_pretrained(tiny), Recipe(), 512)


def load(folder: Path, implementation: str) -> Any:
    attention.register()
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=implementation
    )
    return model.eval()


@pytest.fixture(scope="module")
def model(tiny: Path) -> Any:
    return load(tiny, attention.PACKED_ATTENTION)


def layout(packing: bool, rows: int = 4) -> Layout:
    return Layout(packing=packing, rows=rows, pad_token=2)


@torch.no_grad()
def test_packed_logits_are_those_of_each_example_alone(
    tiny: Path, model: Any, examples: Examples
) -> None:
    library = load(tiny, "sdpa")
    chosen = [examples[index] for index in range(6)]
    (packed,) = layout(packing=True)(chosen)
    bounds = packed.inputs["cu_seq_lens_q"].tolist()
    together = model(**packed.inputs | {"logits_to_keep": 0}).logits[0]
    by_length = sorted(chosen, key=lambda example: -len(example.ids))
    for example, start in zip(by_length, bounds, strict=False):
        ids = torch.tensor(example.ids[None], dtype=torch.long)
        alone = library(input_ids=ids, use_cache=False).logits[0]
        assert torch.allclose(together[start : start + len(example.ids)], alone, atol=1e-4)


@torch.no_grad()
def test_the_loss_of_a_step_is_the_librarys_own(tiny: Path, model: Any, examples: Examples) -> None:
    library = load(tiny, "sdpa")
    chosen = [examples[index] for index in range(8)]
    expected = 0.0
    for example in chosen:
        ids = torch.tensor(example.ids[None], dtype=torch.long)
        labels = torch.where(torch.tensor(example.learned[None]), ids, -100)
        out = library(input_ids=ids, labels=labels, use_cache=False)
        expected += float(out.loss) * int(example.learned.sum())
    for packing in (True, False):
        batches = layout(packing)(chosen)
        assert sum(batch.learned for batch in batches) == sum(e.learned.sum() for e in chosen)
        found = sum(float(summed_loss(model, batch)) for batch in batches)
        assert found == pytest.approx(expected, rel=1e-5)


def test_gradients_do_not_depend_on_packing(model: Any, examples: Examples) -> None:
    chosen = [examples[index] for index in range(8)]
    gradients = []
    for packing in (True, False):
        for batch in layout(packing)(chosen):
            (summed_loss(model, batch) / 100).backward()
        gradients.append([weight.grad.clone() for weight in model.parameters()])
        model.zero_grad()
    for packed, padded in zip(*gradients, strict=True):
        assert torch.allclose(packed, padded, atol=1e-5)


def test_a_model_that_would_leak_is_found(tiny: Path, model: Any, examples: Examples) -> None:
    probes = [Tokens(e.ids, e.learned) for e in (examples[0], examples[1])]
    assert packing_is_exact(model, probes, CPU)
    attention.AttentionInterface.register("leaks", _attention_without_bounds)
    assert not packing_is_exact(load(tiny, "leaks"), probes, CPU)


def _attention_without_bounds(*args: Any, **kwargs: Any) -> Any:
    kwargs.pop("cu_seq_lens_q", None)
    query, key, value = args[1:4]
    return attention.sdpa_attention_forward(args[0], query, key, value, None, **kwargs)


def test_rows_are_filled_and_none_is_too_long() -> None:
    lengths = [900, 30, 500, 500, 100, 20, 1500]
    groups = layout(packing=True).groups(lengths)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in group) <= max(PACKED_TOKENS, 1500) for group in groups)
    assert len(groups) == 3
    padded = layout(packing=False, rows=2).groups(lengths)
    assert [len(group) for group in padded] == [2, 2, 2, 1]
