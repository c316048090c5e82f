"""Attention for packed rows: each example is computed for itself.

transformers' own SDPA computes a packed row whole and masks most of it away. Going from example
to example, with the part of the same mask that is the example's own, gives the same result in
time and memory that grow with the row's length instead of its square.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

PACKED_ATTENTION = "npu_jupyter_packed"
"""The name by which a model's configuration asks for it."""


def packed_attention(  # noqa: PLR0917 - as transformers calls it
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each example of a packed row; without `cu_seq_lens_q` as SDPA does."""
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    outputs = []
    for start, end in pairwise(cu_seq_lens_q.tolist()):
        own = slice(start, end)
        mask = None if attention_mask is None else attention_mask[:, :, own, own]
        output, _ = sdpa_attention_forward(
            module, query[:, :, own], key[:, :, own], value[:, :, own], mask, **kwargs
        )
        outputs.append(output)
    return torch.cat(outputs, dim=1), None


def register() -> None:
    """Make it known to transformers, with SDPA's masks."""
    AttentionInterface.register(PACKED_ATTENTION, packed_attention)
    AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
