"""Texts to tokens, so that each prompt within them has the tokens that serving gives it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

from npu_jupyter.errors import InvalidRequest
from npu_jupyter.finetune.datasets.template import Answer, Rendered

_KNOWN_TAILS = 64


class Span(NamedTuple):
    """Where an answer stands, in tokens."""

    start: int
    end: int
    learned: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    """A whole row in tokens."""

    ids: list[int]
    answers: list[Span]


class Encoder:
    """Encodes rendered rows."""

    def __init__(self, tokenizer: Any) -> None:
        """Encode with `tokenizer`, of transformers.

        Raises:
            InvalidRequest: it cannot tell where its tokens stand in a text.
        """
        if not tokenizer.is_fast:
            raise InvalidRequest(
                "This model's tokenizer has no tokenizer.json, which training needs. Pull the "
                "model again from a source that has one."
            )
        self._eos: int | None = tokenizer.eos_token_id
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        # What begins an answer is the same one or two texts, in most templates.
        self._tail_ids = lru_cache(_KNOWN_TAILS)(partial(self._ids, special=False))

    def encode(
        self, rows: Sequence[Rendered], marks: Sequence[str], end_of_turn: int | None
    ) -> list[Tokens]:
        """Encode rows as one batch, in which the tokenizer uses every core."""
        encodings: dict[int, Any] = {}
        for special in (False, True):
            indexes = [i for i, row in enumerate(rows) if row.special_tokens is special]
            texts = [rows[index].text for index in indexes]
            batch = self._backend.encode_batch(texts, add_special_tokens=special)
            encodings.update(zip(indexes, batch, strict=True))
        return [
            self._tokens(row, _Encoded([_Piece(0, row.text, encodings[index])]), marks, end_of_turn)
            for index, row in enumerate(rows)
        ]

    def _tokens(
        self, row: Rendered, encoded: _Encoded, marks: Sequence[str], end_of_turn: int | None
    ) -> Tokens:
        if not all(self._prompted_alike(row, encoded, marks, answer) for answer in row.answers):
            encoded = _Encoded(self._apart(row))
        ids = encoded.ids
        spans = []
        for start, end, learned in row.answers:
            first = encoded.token_at(start)
            if end is not None:
                last = encoded.token_at(end)
            else:
                after = range(first, len(ids))
                last = next((i + 1 for i in after if ids[i] == end_of_turn), len(ids))
            spans.append(Span(first, last, learned))
        if row.add_end and self._eos is not None and ids[-1] != self._eos:
            ids.append(self._eos)
            spans[-1] = spans[-1]._replace(end=len(ids))
        return Tokens(ids, spans)

    def _prompted_alike(
        self, row: Rendered, encoded: _Encoded, marks: Sequence[str], answer: Answer
    ) -> bool:
        """Tell whether the prompt of an answer has the tokens that it has alone.

        A token may reach from the one into the other, or the text that follows change how the
        prompt's end is split.
        """
        after = encoded.token_at(answer.start)
        tail = self._tail(row, answer.start, marks)
        return encoded.ids[max(0, after - len(tail)) : after] == tail

    def _tail(self, row: Rendered, end: int, marks: Sequence[str]) -> list[int]:
        """Encode a prompt from the last mark on: no token reaches over a mark."""
        start = max((row.text.rfind(mark, 0, end) for mark in marks), default=-1)
        if start < 0:
            return self._ids(row.text[:end], special=row.special_tokens)
        return self._tail_ids(row.text[start:end])

    def _ids(self, text: str, *, special: bool) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=special).ids
        return ids

    def _apart(self, row: Rendered) -> list[_Piece]:
        """Encode a text in pieces that begin where the answers do."""
        starts = sorted({0, *(answer.start for answer in row.answers)})
        pieces = []
        for start, end in pairwise([*starts, len(row.text)]):
            text, special = row.text[start:end], row.special_tokens and not start
            encoding = self._backend.encode(text, add_special_tokens=special)
            pieces.append(_Piece(start, text, encoding))
        return pieces


class _Piece(NamedTuple):
    """A part of a text with its tokens."""

    start: int
    """In characters."""
    text: str
    encoding: Any


class _Encoded:
    """One text's tokens, from one or several pieces."""

    def __init__(self, pieces: Sequence[_Piece]) -> None:
        """Join `pieces`."""
        self.ids: list[int] = []
        self._pieces = pieces
        self._first_tokens: list[int] = []
        for piece in pieces:
            self._first_tokens.append(len(self.ids))
            self.ids += piece.encoding.ids

    def token_at(self, character: int) -> int:
        """Give the index of the first token that begins at a character or after it."""
        index = bisect_right(self._pieces, character, key=lambda piece: piece.start) - 1
        start, text, encoding = self._pieces[index]
        for at in range(character - start, len(text)):
            token = encoding.char_to_token(at)
            if token is not None:  # None: the tokenizer drops this character
                return self._first_tokens[index] + int(token)
        return self._first_tokens[index] + len(encoding)
