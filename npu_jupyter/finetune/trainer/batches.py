"""From examples to what the model reads: the order of steps, packed rows, padded rows.

A step is a set of examples that depends on the seed alone. How its examples are laid out changes
the time that it takes, and neither its loss nor its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

from npu_jupyter.finetune.trainer.examples import Tokens

PACKED_TOKENS = 512
"""Length of a packed row: longer ones win no more time."""
_IGNORED = -100


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What goes through the model at once."""

    inputs: dict[str, Any]
    """What the model's forward takes."""
    targets: torch.Tensor
    """For each row and each kept position the token that follows, or -100."""
    tokens: int
    """Without padding."""
    learned: int

    def to(self, device: torch.device) -> MicroBatch:
        """Give the same on another device."""
        inputs = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in self.inputs.items()
        }
        return MicroBatch(inputs, self.targets.to(device), self.tokens, self.learned)


class StepSampler(Sampler[list[int]]):
    """The examples of each step of an epoch, shuffled by seed and epoch alone."""

    def __init__(self, examples: Sequence[int], size: int, seed: int) -> None:
        """Deal `examples` out to steps of `size`."""
        self._examples = np.asarray(examples)
        self._size = size
        self._seed = seed
        self.current_epoch: Callable[[], int] = lambda: 0
        """Tells which pass begins when steps are asked for."""

    def __len__(self) -> int:
        return math.ceil(len(self._examples) / self._size)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.steps(self.current_epoch()))

    def steps(self, epoch: int) -> list[list[int]]:
        """Give the steps of any epoch."""
        order = np.random.default_rng((self._seed, epoch)).permutation(self._examples)
        return [
            order[start : start + self._size].tolist() for start in range(0, len(order), self._size)
        ]


class Layout:
    """Lays the examples of a step out in micro-batches."""

    def __init__(self, *, packing: bool, rows: int, pad_token: int) -> None:
        """Pack, or pad `rows` examples to one length with `pad_token`."""
        self.packing = packing
        self.room = PACKED_TOKENS
        """Tokens of a packed row, unless one example is longer."""
        self._rows = rows
        self._pad_token = pad_token

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Group the examples of a step, by their index in `lengths`, into micro-batches."""
        longest_first = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
        if not self.packing:
            rows = self._rows
            return [longest_first[at : at + rows] for at in range(0, len(longest_first), rows)]
        room = max(self.room, lengths[longest_first[0]])
        groups: list[list[int]] = []
        free: list[int] = []
        for index in longest_first:  # first fit, the longest first
            for number, left in enumerate(free):
                if lengths[index] <= left:
                    groups[number].append(index)
                    free[number] -= lengths[index]
                    break
            else:
                groups.append([index])
                free.append(room - lengths[index])
        return groups

    def __call__(self, examples: Sequence[Tokens]) -> list[MicroBatch]:
        """Lay out the examples of a step."""
        lay = self._packed if self.packing else self._padded
        groups = self.groups([len(example.ids) for example in examples])
        return [lay([examples[index] for index in group]) for group in groups]

    @staticmethod
    def _packed(examples: Sequence[Tokens]) -> MicroBatch:
        ids = np.concatenate([example.ids for example in examples])
        learned = np.concatenate([example.learned for example in examples])
        lengths = [len(example.ids) for example in examples]
        bounds = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
        (positions,) = np.nonzero(learned)
        inputs = {
            "input_ids": _tensor(ids)[None],
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            "logits_to_keep": _tensor(positions) - 1,
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
            "use_cache": False,
        }
        return MicroBatch(inputs, _tensor(ids[positions])[None], len(ids), len(positions))

    def _padded(self, examples: Sequence[Tokens]) -> MicroBatch:
        longest = max(len(example.ids) for example in examples)
        ids = np.full((len(examples), longest), self._pad_token, dtype=np.int64)
        learned = np.zeros((len(examples), longest), dtype=np.bool_)
        mask = np.zeros((len(examples), longest), dtype=np.int64)
        for row, example in enumerate(examples):
            length = len(example.ids)
            ids[row, :length], learned[row, :length], mask[row, :length] = (
                example.ids,
                example.learned,
                1,
            )
        (positions,) = np.nonzero(learned.any(axis=0))
        targets = np.where(learned, ids, _IGNORED)[:, positions]
        inputs = {
            "input_ids": _tensor(ids),
            "attention_mask": _tensor(mask),
            "logits_to_keep": _tensor(positions) - 1,
            "use_cache": False,
        }
        return MicroBatch(inputs, _tensor(targets), int(mask.sum()), int(learned.sum()))


def _tensor(values: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))
