"""What training takes is measured before it begins, and does not change it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from transformers import AutoTokenizer

from npu_jupyter.errors import InsufficientMemory
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.trainer.batches import Layout
from npu_jupyter.finetune.trainer.estimate import Estimator, Measured
from npu_jupyter.finetune.trainer.examples import Examples, read_examples
from npu_jupyter.finetune.trainer.model import choose_compute, load
from npu_jupyter.finetune.trainer.preparing import prepare

RECIPE = Recipe(batch_size=4, lora_dropout=0.2)
_GB = 10**9


@pytest.fixture(scope="module")
def examples(tiny: Path, rows: Path) -> Examples:
    return read_examples(rows, AutoTokenizer.from_pretrained(tiny), RECIPE, 512)


def test_it_is_measured_and_leaves_no_trace(tiny: Path, examples: Examples) -> None:
    compute = choose_compute()
    model = load(tiny, RECIPE, compute)
    layout = Layout(packing=True, rows=4, pad_token=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    chance = torch.random.get_rng_state()
    steps = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    measuring = Estimator(model, examples, RECIPE, compute=compute, layout=layout)
    estimate = measuring.run(steps, total_steps=30)
    tokens = [sum(len(examples[i].ids) for i in step) for step in steps]
    assert [one.tokens for one in estimate.measured] == sorted(tokens)
    assert estimate.seconds > max(one.seconds for one in estimate.measured)
    assert 0 < estimate.memory_bytes < estimate.available_bytes
    assert estimate.longest_example == max(examples.lengths[:12])
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert estimate.disk_bytes > trained * 12
    assert not estimate.gradient_checkpointing
    assert torch.equal(torch.random.get_rng_state(), chance)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(weight.grad is None for weight in model.parameters())


def test_training_that_cannot_fit_is_refused_before_it_begins(tiny: Path, rows: Path) -> None:
    with pytest.raises(InsufficientMemory) as error:
        prepare(tiny, rows, RECIPE, available_bytes=2 * 10**6)
    assert "even with gradient checkpointing, and 0.00 GB are free" in error.value.message
    assert "quantize_base to true" in error.value.message


def estimator(
    tiny: Path, examples: Examples, *, packing: bool = True, **changes: bool
) -> Estimator:
    recipe, compute = msgspec.structs.replace(RECIPE, packing=packing, **changes), choose_compute()
    return Estimator(
        load(tiny, recipe, compute),
        examples,
        recipe,
        compute=compute,
        layout=Layout(packing=packing, rows=4, pad_token=2),
        available_bytes=_GB,
    )


def test_it_says_what_would_fit(tiny: Path, examples: Examples) -> None:
    packed = str(estimator(tiny, examples)._does_not_fit(3 * _GB, longest=1000))
    assert "needs about 3.00 GB more" in packed
    assert "Set max_length to 320 (the longest example has 1000 tokens), or quantize_base" in packed
    padded = estimator(tiny, examples, packing=False, use_lora=False)
    told = str(padded._does_not_fit(3 * _GB, longest=1000))
    assert "Set batch_size (it is 4) to 1, packing to true, or max_length" in told
    assert told.endswith("or use_lora to true.")


def test_a_long_batch_that_would_not_fit_is_not_tried(tiny: Path, examples: Examples) -> None:
    measured = [Measured(100, 0.1, 10**8)]
    assert estimator(tiny, examples)._need(measured, tokens=2000) > _GB
    assert estimator(tiny, examples)._need(measured, tokens=500) < _GB
