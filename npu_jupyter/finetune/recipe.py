"""How a model is to be trained: every setting with its default, and the bounds of each."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from npu_jupyter.errors import InvalidRequest


class Scheduler(StrEnum):
    """How the learning rate goes on after the warm-up; transformers' own names."""

    LINEAR = "linear"
    COSINE = "cosine"
    CONSTANT = "constant"


class ExportPrecision(StrEnum):
    """How the weights of an exported model are stored."""

    INT8 = "int8"
    INT4 = "int4"


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides what training does to a model, by the names of transformers and peft."""

    epochs: float = 3
    """Passes over the dataset; a part of one is possible."""
    max_steps: int = 0
    """Optimizer steps after which to end, whatever `epochs` says; 0 is no limit."""
    batch_size: int = 4
    """Examples whose gradients make one optimizer step, before accumulation."""
    gradient_accumulation_steps: int = 1
    learning_rate: float = 2e-4
    lr_scheduler_type: Scheduler = Scheduler.COSINE
    warmup_ratio: float = 0.03
    """Part of all steps in which the learning rate rises from 0."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """Length to which a longer gradient is cut; 0 is no clipping."""
    use_lora: bool = True
    """False trains every weight of the model."""
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    use_rslora: bool = False
    use_dora: bool = False
    target_modules: tuple[str, ...] = ()
    """Names of the layers that get an adapter; empty is all linear layers but the head."""
    quantize_base: bool = False
    """QLoRA: hold the base in NF4. Saves memory, never time."""
    max_length: int = 0
    """Tokens of the longest example; 0 is what the model reads, 2,048 at most."""
    packing: bool = True
    """Lay short examples end to end in one row, where they do not see each other."""
    assistant_only_loss: bool = True
    """Learn what the assistant says; False learns the prompts too."""
    eval_split: float = 0.1
    """Part of the rows held out for evaluation and the parity check; 0 holds out none."""
    eval_steps: int = 0
    """Optimizer steps between evaluations; 0 is after each epoch."""
    early_stopping_patience: int = 0
    """Evaluations without a better loss after which to end; 0 never ends early."""
    save_steps: int = 0
    """Optimizer steps between checkpoints; 0 is about every tenth of the run."""
    sample_prompts: tuple[str, ...] = ()
    """Prompts that are answered as training goes."""
    sample_steps: int = 0
    """Optimizer steps between sample answers; 0 is with each evaluation."""
    seed: int = 42
    report_to: tuple[str, ...] = ()
    """What transformers reports to: tensorboard, mlflow, wandb, trackio."""
    export_precision: ExportPrecision = ExportPrecision.INT8
    """For what cannot be served as an adapter."""

    def check(self) -> None:
        """Raise `InvalidRequest`, naming the field, for what no training could use."""
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:  # as NaN is not either
                raise InvalidRequest(
                    f"{name} is {value!r}; it must be from {low:g} to {high:g}.", param=name
                )
        if self.use_dora and not self.use_lora:
            raise InvalidRequest("use_dora needs use_lora.", param="use_dora")
        if self.quantize_base and not self.use_lora:
            raise InvalidRequest(
                "quantize_base needs use_lora: a quantised model cannot be trained itself.",
                param="quantize_base",
            )

    @property
    def served_as_adapter(self) -> bool:
        """Whether the engine can apply the result to its base; else it is merged and exported."""
        return self.use_lora and not self.use_dora


_SMALLEST = 1e-8
BOUNDS: dict[str, tuple[float, float]] = {
    "epochs": (_SMALLEST, 1000),
    "max_steps": (0, 10_000_000),
    "batch_size": (1, 1024),
    "gradient_accumulation_steps": (1, 1024),
    "learning_rate": (_SMALLEST, 1),
    "warmup_ratio": (0, 1),
    "weight_decay": (0, 1),
    "max_grad_norm": (0, 1000),
    "lora_r": (1, 512),
    "lora_alpha": (1, 4096),
    "lora_dropout": (0, 0.95),
    "max_length": (0, 1_000_000),
    "eval_split": (0, 0.9),
    "eval_steps": (0, 10_000_000),
    "early_stopping_patience": (0, 1000),
    "save_steps": (0, 10_000_000),
    "sample_steps": (0, 10_000_000),
    "seed": (0, 2**31 - 1),
}
"""The smallest and the largest value of each number."""
