"""What the database learns of training, and what training learns from it: step by step."""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.records import EventKind
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.trainer.preparing import Prepared

_SAMPLE_TOKENS = 64
_SHOWN_DIGITS = 6


class Progress(TrainerCallback):
    """Reports metrics, checkpoints and sample answers; ends training when told to."""

    def __init__(self, store: JobStore, job_id: int, recipe: Recipe, prepared: Prepared) -> None:
        """Report what becomes of `prepared` to the job `job_id`."""
        self._store = store
        self._job_id = job_id
        self._recipe = recipe
        self._prepared = prepared
        self._began = time.monotonic()
        self._first_step = 0
        self.stopped = False
        """Whether training ended because the job was told to stop."""

    def stop_requested(self) -> bool:
        """Ask whether the job is to stop."""
        return self._store.get(self._job_id).stop_requested

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock."""
        del args, control
        self._began = time.monotonic()
        self._first_step = state.global_step
        self._store.progress(
            self._job_id, total_steps=state.max_steps, current_step=state.global_step
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop with a checkpoint, if that was asked for."""
        del args
        if state.global_step < state.max_steps and self.stop_requested():
            self.stopped = True
            control.should_training_stop = control.should_save = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Report what was measured."""
        del args, control
        if not logs or not {"loss", "eval_loss"} & logs.keys():
            return
        data: dict[str, Any] = {
            "step": state.global_step,
            "epoch": round(state.epoch, _SHOWN_DIGITS),
        }
        data |= {name: _rounded(value) for name, value in logs.items() if name != "epoch"}
        eta_s = self._eta_s(state)
        if "loss" in logs:
            data["eta_seconds"] = eta_s
        self._store.report(
            self._job_id,
            EventKind.METRIC,
            data,
            current_step=state.global_step,
            current_epoch=state.epoch,
            eta_seconds=eta_s,
            trained_tokens=state.num_input_tokens_seen,
        )
        every = self._recipe.sample_steps
        due = state.global_step % every == 0 if every else "eval_loss" in logs
        if due and ("loss" in logs or not every):
            self._sample(model, state.global_step)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **facts: Any,
    ) -> None:
        """Keep the best, and end when it is long ago."""
        del args
        best = state.best_metric
        control.should_save |= best is None or facts["metrics"]["eval_loss"] < best
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        patience = self._recipe.early_stopping_patience
        if patience and len(losses) - 1 - losses.index(min(losses)) >= patience:
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report a checkpoint."""
        del args, control
        data: dict[str, Any] = {"step": state.global_step}
        last = next((entry for entry in reversed(state.log_history) if "eval_loss" in entry), None)
        if last and last["step"] == state.global_step:
            data["eval_loss"] = _rounded(last["eval_loss"])
        self._store.report(self._job_id, EventKind.CHECKPOINT, data)

    def _eta_s(self, state: TrainerState) -> float | None:
        done = state.global_step - self._first_step
        if not done:
            return None
        seconds = (time.monotonic() - self._began) / done
        return round(seconds * (state.max_steps - state.global_step), 1)

    def _sample(self, model: Any, step: int) -> None:
        for prompt in self._recipe.sample_prompts:
            data = {"step": step, "prompt": prompt, "answer": self._answer(model, prompt)}
            self._store.report(self._job_id, EventKind.SAMPLE, data)

    @torch.no_grad()
    def _answer(self, model: Any, prompt: str) -> str:
        tokenizer = self._prepared.tokenizer
        if tokenizer.chat_template:
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
            )
        chat = bool(tokenizer.chat_template)
        inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=not chat)
        model.eval()
        with self._prepared.compute.autocast():
            output = model.generate(
                **inputs.to(model.device),
                max_new_tokens=_SAMPLE_TOKENS,
                do_sample=False,
                use_cache=True,
            )
        model.train()
        new = output[0, inputs["input_ids"].shape[1] :]
        return str(tokenizer.decode(new, skip_special_tokens=True))


def _rounded(value: float) -> float:
    return float(f"{value:.{_SHOWN_DIGITS}g}")
