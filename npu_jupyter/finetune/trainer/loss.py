"""The loss of a micro-batch, with the head on the positions that are learned and no others."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from npu_jupyter.finetune.trainer.batches import Layout, MicroBatch
from npu_jupyter.finetune.trainer.examples import Tokens

_TOLERANCE = 1e-3
"""What packing may change of a mean loss in fp32, by rounding alone."""


def summed_loss(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Add up the cross entropy, in nats, of every learned token of `batch`."""
    logits = model(**batch.inputs).logits
    return functional.cross_entropy(
        logits.float().flatten(0, 1), batch.targets.flatten(), reduction="sum"
    )


@torch.no_grad()
def packing_is_exact(model: Any, examples: list[Tokens], device: torch.device) -> bool:
    """Tell whether this model computes packed examples as it does each for itself.

    Not every architecture keeps them apart: one with a state that runs along the row does not.
    """
    packed = Layout(packing=True, rows=1, pad_token=0)
    training = model.training
    model.eval()
    together = sum(float(summed_loss(model, batch.to(device))) for batch in packed(examples))
    alone = sum(
        float(summed_loss(model, batch.to(device)))
        for example in examples
        for batch in packed([example])
    )
    model.train(training)
    learned = sum(int(example.learned.sum()) for example in examples)
    return abs(together - alone) / learned < _TOLERANCE
