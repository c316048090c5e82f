"""Training in this process: what decides its result, and what a checkpoint carries over."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from transformers import AutoTokenizer

from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.trainer.batches import Layout
from npu_jupyter.finetune.trainer.checkpoints import Checkpoints, Manifest
from npu_jupyter.finetune.trainer.examples import read_examples
from npu_jupyter.finetune.trainer.loss import summed_loss
from npu_jupyter.finetune.trainer.model import choose_compute, load
from npu_jupyter.finetune.trainer.preparing import Prepared, prepare
from npu_jupyter.finetune.trainer.training import JobTrainer, TrainingDiverged

RECIPE = Recipe(
    max_steps=6,
    batch_size=2,
    gradient_accumulation_steps=2,
    learning_rate=1e-2,
    lora_r=4,
    lora_dropout=0.1,
    eval_split=0.2,
    eval_steps=3,
    save_steps=2,
)

Train = Callable[..., JobTrainer]


@pytest.fixture
def train(tiny: Path, rows: Path, tmp_path: Path) -> Train:
    """Train anew, each run with checkpoints of its own, unless it goes on from some."""
    numbers = itertools.count()

    def run(
        start: Path | None = None, *, gradient_checkpointing: bool = False, **changes: Any
    ) -> JobTrainer:
        recipe = msgspec.structs.replace(RECIPE, **changes)
        prepared: Prepared = prepare(tiny, rows, recipe)
        estimate = replace(prepared.estimate, gradient_checkpointing=gradient_checkpointing)
        prepared = replace(prepared, estimate=estimate)
        trainer = JobTrainer(
            prepared,
            recipe,
            checkpoints=Checkpoints(tmp_path / str(next(numbers))),
            manifest=Manifest(step=0, recipe={}, dataset_sha256="0"),
            callbacks=[],
        )
        trainer.run(start)
        return trainer

    return run


def history(trainer: JobTrainer, name: str = "loss") -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def weights(trainer: JobTrainer) -> dict[str, torch.Tensor]:
    named = trainer.model.named_parameters()
    return {name: weight for name, weight in named if weight.requires_grad}


def test_a_resumed_run_is_the_one_that_was_not_interrupted(train: Train) -> None:
    whole = train()
    assert history(whole)[-1] < history(whole)[0]
    assert len(history(whole, "eval_loss")) == 2
    again = train()
    assert history(again) == history(whole)  # the seed alone decides
    resumed = train(start=again._checkpoints.path(4))
    assert history(resumed) == history(whole)
    assert history(resumed, "eval_loss") == history(whole, "eval_loss")
    for name, weight in weights(whole).items():
        assert torch.equal(weights(resumed)[name], weight)
    ended = train(start=whole._checkpoints.path(6))
    assert ended.state.global_step == 6
    for name, weight in weights(whole).items():
        assert torch.equal(weights(ended)[name], weight)


def test_the_result_does_not_depend_on_packing(train: Train) -> None:
    packed = train(lora_dropout=0.0)
    padded = train(lora_dropout=0.0, packing=False)
    assert packed._prepared.layout.packing
    assert history(packed) == pytest.approx(history(padded), rel=1e-3)
    assert history(packed, "eval_loss") == pytest.approx(history(padded, "eval_loss"), rel=1e-3)
    assert packed.state.num_input_tokens_seen == padded.state.num_input_tokens_seen


def test_gradient_checkpointing_changes_no_gradient(train: Train) -> None:
    kept = train(lora_dropout=0.0, max_steps=3)
    computed_twice = train(lora_dropout=0.0, max_steps=3, gradient_checkpointing=True)
    assert computed_twice.model.is_gradient_checkpointing
    assert history(computed_twice) == pytest.approx(history(kept), rel=1e-4)
    norms = history(kept, "grad_norm")
    assert history(computed_twice, "grad_norm") == pytest.approx(norms, rel=1e-2)


def test_accumulation_makes_the_same_steps_as_a_larger_batch(train: Train) -> None:
    accumulated = train(lora_dropout=0.0, max_steps=3)
    at_once = train(lora_dropout=0.0, max_steps=3, batch_size=4, gradient_accumulation_steps=1)
    assert history(accumulated) == pytest.approx(history(at_once), rel=1e-6)


def test_every_weight_is_trained_without_lora(train: Train) -> None:
    trainer = train(use_lora=False, max_steps=2, learning_rate=1e-3)
    assert len(weights(trainer)) == len(list(trainer.model.parameters()))
    resumed = train(
        start=trainer._checkpoints.path(2), use_lora=False, max_steps=2, learning_rate=1e-3
    )
    for name, weight in weights(trainer).items():
        assert torch.equal(weights(resumed)[name], weight)


@pytest.mark.parametrize(
    "kind", [{"use_dora": True}, {"use_rslora": True}, {"target_modules": ("q_proj", "v_proj")}]
)
def test_kinds_of_adapters_learn(train: Train, kind: dict[str, Any]) -> None:
    trainer = train(max_steps=3, save_steps=3, lora_dropout=0.0, **kind)
    moved = [name for name, weight in weights(trainer).items() if "lora_B" in name and weight.any()]
    assert moved
    assert all("lm_head" not in name for name in weights(trainer))
    if "target_modules" in kind:
        assert all(name.split(".")[-4] in kind["target_modules"] for name in moved)


def test_qlora_learns_over_a_base_of_four_bits(train: Train) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    trainer = train(max_steps=2, save_steps=2, quantize_base=True)
    layers = [m for m in trainer.model.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert layers
    assert history(trainer)[1] != history(trainer)[0]


def test_gradients_flow_through_a_base_of_four_bits_after_an_evaluation(
    tiny: Path, rows: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    recipe = msgspec.structs.replace(RECIPE, quantize_base=True, lora_dropout=0.0)
    examples = read_examples(rows, AutoTokenizer.from_pretrained(tiny), recipe, 512)
    (batch,) = Layout(packing=True, rows=1, pad_token=2)([examples[0]])
    model = load(tiny, recipe, choose_compute())

    def gradients() -> list[torch.Tensor]:
        model.train()
        summed_loss(model, batch).backward()
        found = [weight.grad.clone() for weight in model.parameters() if weight.requires_grad]
        model.zero_grad()
        return found

    before = gradients()
    model.eval()
    with torch.no_grad():
        summed_loss(model, batch)
    after = gradients()
    assert any(gradient.any() for gradient in before[:2])  # of the lowest layer
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_no_number_ends_training_and_keeps_the_last_good_step(train: Train) -> None:
    trainer = train(max_steps=2, save_steps=1)
    with torch.no_grad():
        next(iter(weights(trainer).values())).fill_(torch.nan)
    trainer.args.max_steps = 4
    with pytest.raises(
        TrainingDiverged, match=r"nan at step 1 of 4.*learning_rate.*step 2 is kept"
    ):
        trainer.train()
