"""The examples of a job: rendered once, kept in flat arrays, split into learned and held out."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from npu_jupyter.finetune.datasets.rendering import NOT_LEARNED, Example, Renderer
from npu_jupyter.finetune.datasets.rows import BadRow, read_rows
from npu_jupyter.finetune.recipe import Recipe

_RENDERED_AT_ONCE = 1000
_DEFAULT_MAX_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class Tokens:
    """One example."""

    ids: npt.NDArray[np.int32]
    learned: npt.NDArray[np.bool_]
    """Which of `ids` are to be predicted; never the first, before which nothing comes."""


class Examples(Sequence[Tokens]):
    """Many examples in a few arrays: lists of numbers would take ten times the memory."""

    def __init__(self, examples: Iterable[Example]) -> None:
        """Keep what `examples` gives."""
        ids, learned, ends = array("i"), bytearray(), array("q", [0])
        for example in examples:
            ids.extend(example.input_ids)
            learned.append(0)
            learned.extend(label != NOT_LEARNED for label in example.labels[1:])
            ends.append(len(ids))
        self._ids = np.frombuffer(ids, dtype=np.int32)
        self._learned = np.frombuffer(learned, dtype=np.bool_)
        self._ends = np.frombuffer(ends, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        start, end = self._ends[index], self._ends[index + 1]
        return Tokens(self._ids[start:end], self._learned[start:end])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Give the tokens of each example."""
        return np.diff(self._ends)


def max_length(recipe: Recipe, context_length: int | None) -> int:
    """Give the tokens of the longest example that this recipe trains."""
    limits = [recipe.max_length or _DEFAULT_MAX_LENGTH]
    if context_length:
        limits.append(context_length)
    return min(limits)


def read_examples(rows: Path, tokenizer: Any, recipe: Recipe, longest: int) -> Examples:
    """Render the rows of a job's snapshot into `longest` tokens at most.

    Raises:
        BadRow: when a row holds nothing to learn.
    """
    renderer = Renderer(tokenizer, longest, recipe.assistant_only_loss)

    def rendered() -> Iterable[Example]:
        stream = read_rows(rows)
        while chunk := list(islice(stream, _RENDERED_AT_ONCE)):
            for result in renderer.render_all(chunk):
                if isinstance(result, BadRow):
                    raise result
                yield result

    return Examples(rendered())


def split(examples: Examples, recipe: Recipe) -> tuple[list[int], list[int]]:
    """Choose which examples to learn and which to hold out.

    By seed and text, whatever the order of the rows; the same text is never in both.
    """
    by_text: dict[bytes, list[int]] = {}
    for index in range(len(examples)):
        tokens = examples[index]
        digest = hashlib.sha256(recipe.seed.to_bytes(4, "little") + tokens.ids.tobytes()).digest()
        by_text.setdefault(digest, []).append(index)
    wanted = round(recipe.eval_split * len(examples))
    held_out: list[int] = []
    for digest in sorted(by_text)[:-1]:  # one text is left to learn, at least
        if len(held_out) + len(by_text[digest]) <= wanted:
            held_out += by_text[digest]
    kept = set(held_out)
    return [index for index in range(len(examples)) if index not in kept], sorted(held_out)
