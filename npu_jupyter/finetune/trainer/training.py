"""Training: transformers' Trainer, with steps of our own and checkpoints that are whole."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from npu_jupyter.errors import NpuError
from npu_jupyter.finetune.publish import write_served
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.trainer.batches import MicroBatch
from npu_jupyter.finetune.trainer.checkpoints import Checkpoints, Manifest
from npu_jupyter.finetune.trainer.faults import Faults
from npu_jupyter.finetune.trainer.loss import summed_loss
from npu_jupyter.finetune.trainer.preparing import Prepared
from npu_jupyter.registry.records import SERVED_ADAPTER

_SAVES_A_RUN = 10
_EVALUATED_AT_ONCE = 16
"""Examples that are laid out together."""
_NEVER_READ = "training_args.bin"
"""A pickle that Trainer writes and nobody reads."""


def _go_on() -> None:
    """Pause for nobody."""


class TrainingDiverged(NpuError):
    """The loss or its gradient is no number any more."""

    code = "training_diverged"


class JobTrainer(Trainer):
    """Trains steps of a fixed set of examples, however these are laid out.

    A step's loss is the mean over the learned tokens of all its examples.
    """

    def __init__(
        self,
        prepared: Prepared,
        recipe: Recipe,
        *,
        checkpoints: Checkpoints,
        manifest: Manifest,
        callbacks: list[TrainerCallback],
        pause: Callable[[], None] = _go_on,
        faults: Faults | None = None,
    ) -> None:
        """Prepare to train; `pause` is called before each micro-batch."""
        self._prepared = prepared
        self._recipe = recipe
        self._checkpoints = checkpoints
        self._manifest = manifest
        self._pause = pause
        self._faults = faults or Faults({})
        self._step_tokens = 0
        self._step_began = time.monotonic()
        sampler = prepared.sampler
        sampler.current_epoch = lambda: int(self.state.global_step // len(sampler))
        super().__init__(
            model=prepared.model,
            args=_arguments(prepared, recipe, checkpoints.folder),
            train_dataset=prepared.data.learned,
            eval_dataset=prepared.data.held_out or None,
            callbacks=callbacks,
        )

    def run(self, start: Path | None = None) -> None:
        """Train from the checkpoint `start`, or from the beginning, to the end or a stop.

        Raises:
            TrainingDiverged: when the loss or its gradient is no number any more.
        """
        if start is not None:
            state = TrainerState.load_from_json(str(start / TRAINER_STATE_NAME))
            if state.global_step >= self._prepared.total_steps:
                self._load_from_checkpoint(str(start))
                self.state = state
                return
        self.train(resume_from_checkpoint=str(start) if start else None)

    # What Trainer asks for

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Load one step at a time; nothing is drawn from the random state of training."""
        return DataLoader(
            self._prepared.data.examples,  # type: ignore[arg-type]
            batch_sampler=self._prepared.sampler,
            collate_fn=self._prepared.layout,
            generator=torch.Generator(),
        )

    def training_step(
        self, model: Any, inputs: Any, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Add up the gradients of a step's micro-batches; give its loss."""
        del num_items_in_batch
        batches: list[MicroBatch] = inputs
        self._step_began = time.monotonic()
        self._step_tokens = sum(batch.tokens for batch in batches)
        learned = sum(batch.learned for batch in batches)
        model.train()
        total = torch.zeros((), device=self.args.device)
        for batch in batches:
            self._pause()
            loss = summed_loss(model, batch.to(self.args.device)) / learned
            self.accelerator.backward(loss)
            total += loss.detach()
        self._faults.reach("step", self.state.global_step + 1)
        self._require_number("The loss", total)
        self.state.num_input_tokens_seen += self._step_tokens
        return total

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        self._require_number("The gradient", torch.as_tensor(norm))
        return norm

    def _require_number(self, what: str, value: torch.Tensor) -> None:
        """Raise `TrainingDiverged` before the step spoils the model."""
        if torch.isfinite(value):
            return
        step = self.state.global_step + 1
        kept = self._checkpoints.newest()
        raise TrainingDiverged(
            f"{what} became {value.item()} at step {step} of {self.state.max_steps}. Lower "
            f"learning_rate (it is {self._recipe.learning_rate:g}) or max_grad_norm (it is "
            f"{self._recipe.max_grad_norm:g}), or look at the rows for damage. "
            + (f"The checkpoint of step {kept.step} is kept." if kept else "Nothing was kept.")
        )

    def floating_point_ops(self, inputs: Any) -> int:
        """Count none: what a step takes is measured."""
        del inputs
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the speed of the step to its metrics."""
        if "loss" in logs:
            seconds = time.monotonic() - self._step_began
            logs["tokens_per_second"] = self._step_tokens / max(seconds, 1e-9)
        super().log(logs, start_time)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Compute the mean loss of the held-out examples, every token alike."""
        model, data = self._prepared.model, self._prepared.data
        lost = learned = 0.0
        model.eval()
        with torch.no_grad():
            for start in range(0, len(data.held_out), _EVALUATED_AT_ONCE):
                chosen = data.held_out[start : start + _EVALUATED_AT_ONCE]
                for batch in self._prepared.layout([data.examples[index] for index in chosen]):
                    self._pause()
                    lost += float(summed_loss(model, batch.to(self.args.device)))
                    learned += batch.learned
        model.train()
        metrics = {"eval_loss": lost / learned}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    # Checkpoints

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Have Trainer write its checkpoint aside, and make it one when it is whole."""
        step = self.state.global_step
        aside = self._checkpoints.aside()
        self.args.output_dir = str(aside)
        super()._save_checkpoint(model, trial)
        written = aside / f"checkpoint-{step}"
        (written / _NEVER_READ).unlink(missing_ok=True)
        if self._recipe.served_as_adapter:  # as ``base:job-7@step-120``
            write_served(written, written / SERVED_ADAPTER)
        self._faults.reach("checkpoint", step)
        manifest = msgspec.structs.replace(
            self._manifest, step=step, eval_loss=self._eval_loss_at(step)
        )
        self._checkpoints.seal(written, manifest)
        shutil.rmtree(aside, ignore_errors=True)
        self._checkpoints.prune(self.state.best_global_step)

    def _eval_loss_at(self, step: int) -> float | None:
        return next(
            (
                entry["eval_loss"]
                for entry in self.state.log_history
                if entry["step"] == step and "eval_loss" in entry
            ),
            None,
        )

    def restore_weights(self, step: int) -> None:
        """Put the weights of a checkpoint into the model."""
        self._load_from_checkpoint(str(self._checkpoints.path(step)))


def _arguments(prepared: Prepared, recipe: Recipe, folder: Path) -> TrainingArguments:
    steps, compute = prepared.total_steps, prepared.compute
    evaluates = bool(prepared.data.held_out)
    return TrainingArguments(
        output_dir=str(folder),
        run_name=folder.parent.name,
        max_steps=steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler_type.value,
        warmup_steps=math.ceil(recipe.warmup_ratio * steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        use_cpu=compute.device == "cpu",
        bf16=compute.bf16,
        gradient_checkpointing=prepared.estimate.gradient_checkpointing,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=(recipe.eval_steps or len(prepared.sampler)) if evaluates else None,
        metric_for_best_model="loss" if evaluates else None,
        greater_is_better=False,
        save_strategy="steps",
        save_steps=recipe.save_steps or max(steps // _SAVES_A_RUN, 1),
        seed=recipe.seed,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=list(recipe.report_to) or "none",
    )
