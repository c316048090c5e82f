"""``python trainers.py WAY BASE ROWS``: train an adapter in one of three ways, and time it.

The three learn the same rows in the same order, with the same adapter, learning rate and seed.
Each prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, set_seed

from npu_jupyter.finetune.datasets.rendering import NOT_LEARNED
from npu_jupyter.finetune.recipe import Recipe, Scheduler
from npu_jupyter.finetune.trainer.batches import StepSampler
from npu_jupyter.finetune.trainer.checkpoints import Checkpoints, Manifest
from npu_jupyter.finetune.trainer.examples import Examples, read_examples
from npu_jupyter.finetune.trainer.memory import Peak
from npu_jupyter.finetune.trainer.preparing import prepare
from npu_jupyter.finetune.trainer.training import JobTrainer

_MAX_LENGTH = 512
_WARM_UP_STEPS = 2
RECIPE = Recipe(
    epochs=1,
    batch_size=4,
    learning_rate=2e-4,
    lr_scheduler_type=Scheduler.LINEAR,
    warmup_ratio=0,
    max_length=_MAX_LENGTH,
    eval_split=0,
    save_steps=10_000,
)


class Clock(TrainerCallback):
    """Keeps when each step was over, and how much of the processor was used until then."""

    def __init__(self) -> None:
        """Wait for the first."""
        self.ends: list[float] = []
        self.used: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())
        self.used.append(time.process_time())


def ours(base: Path, rows: Path, folder: Path, clock: Clock) -> Any:
    """Train as a job does."""
    return JobTrainer(
        prepare(base, rows, RECIPE),
        RECIPE,
        checkpoints=Checkpoints(folder),
        manifest=Manifest(step=0, recipe={}, dataset_sha256=""),
        callbacks=[clock],
    )


def plain(base: Path, rows: Path, folder: Path, clock: Clock) -> Any:
    """Train with transformers' Trainer and peft, by their defaults."""
    from peft import get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    set_seed(RECIPE.seed)
    return Trainer(
        model=get_peft_model(model, _adapter()),
        args=TrainingArguments(**_arguments(folder)),
        train_dataset=_dataset(rows, tokenizer),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        callbacks=[clock],
    )


def trl(base: Path, rows: Path, folder: Path, clock: Clock) -> Any:
    """Train with TRL's SFTTrainer, by its defaults."""
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(base)
    set_seed(RECIPE.seed)
    return SFTTrainer(
        model=str(base),
        args=SFTConfig(
            max_length=_MAX_LENGTH, use_cpu=not torch.cuda.is_available(), **_arguments(folder)
        ),
        train_dataset=_dataset(rows, tokenizer),
        processing_class=tokenizer,
        peft_config=_adapter(),
        callbacks=[clock],
    )


def _adapter() -> Any:
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=RECIPE.lora_r,
        lora_alpha=RECIPE.lora_alpha,
        target_modules="all-linear",
    )


def _arguments(folder: Path) -> dict[str, Any]:
    """Give what is the same for all: rows, order, learning rate; and a loss for each step."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": RECIPE.batch_size,
        "num_train_epochs": RECIPE.epochs,
        "learning_rate": RECIPE.learning_rate,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "seed": RECIPE.seed,
    }


def _examples(rows: Path, tokenizer: Any) -> Examples:
    return read_examples(rows, tokenizer, RECIPE, _MAX_LENGTH)


def _dataset(rows: Path, tokenizer: Any) -> Any:
    """Give the examples in the order in which ours are dealt out."""
    from datasets import Dataset

    examples = _examples(rows, tokenizer)
    steps = StepSampler(range(len(examples)), RECIPE.batch_size, RECIPE.seed).steps(epoch=0)
    lines = []
    for index in (index for step in steps for index in step):
        ids, learned = examples[index].ids.tolist(), examples[index].learned.tolist()
        labels = [
            token if is_learned else NOT_LEARNED
            for token, is_learned in zip(ids, learned, strict=True)
        ]
        lines.append({"input_ids": ids, "labels": labels})
    return Dataset.from_list(lines)


def _real_tokens(base: Path, rows: Path) -> list[int]:
    """Count the tokens of each step, without padding."""
    from transformers import AutoTokenizer

    examples = _examples(rows, AutoTokenizer.from_pretrained(base))
    steps = StepSampler(range(len(examples)), RECIPE.batch_size, RECIPE.seed).steps(epoch=0)
    return [sum(int(examples.lengths[index]) for index in step) for step in steps]


def main() -> None:
    """Train, and say how fast, with which losses, and in how much memory."""
    way, base, rows = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = {"ours": ours, "plain": plain, "trl": trl}[way](base, rows, Path(folder), clock)
        with Peak("cpu") as peak:
            trainer.train()
    tokens = sum(_real_tokens(base, rows)[_WARM_UP_STEPS:])
    found = {
        "tokens_per_s": tokens / (clock.ends[-1] - clock.ends[_WARM_UP_STEPS - 1]),
        "tokens_per_cpu_s": tokens / (clock.used[-1] - clock.used[_WARM_UP_STEPS - 1]),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "peak_bytes": peak.bytes,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
