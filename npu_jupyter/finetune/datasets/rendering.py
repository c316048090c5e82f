"""Rows to tokens with labels: what a model reads in training, and which of it it learns.

What comes before an answer is, token for token, what the model is given when it serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from npu_jupyter.finetune.datasets.encoding import Encoder, Tokens
from npu_jupyter.finetune.datasets.rows import BadRow, Message, Row
from npu_jupyter.finetune.datasets.template import Answer, ChatTemplate, Rendered

NOT_LEARNED = -100
"""The label that torch's cross entropy passes over."""
_PROMPT_KEPT = 0.25
"""Part of the length that a prompt keeps, at least, beside an answer that is too long."""
_INSTRUCTIONS = frozenset({"system", "developer"})
NOTHING = "it holds nothing to learn"
_NO_TEMPLATE = (
    "it is a chat, and this model has no chat template; give prompt and completion, or text"
)

_PROMPTED_OTHERWISE = (
    "The model's chat template begins an answer with text that it leaves out of a whole chat, as "
    "those of models that think first do: what is learned follows another text than the one that "
    "serving gives."
)


class Example(msgspec.Struct, frozen=True):
    """One row as the model learns it."""

    line: int
    """Line or row of the source, from 1."""
    input_ids: list[int]
    labels: list[int]
    """The ids again, or `NOT_LEARNED`; not yet shifted."""
    cut_tokens: int = 0
    """Tokens that were left out because the row is longer than the limit."""

    @property
    def learned_tokens(self) -> int:
        """Count what is learned; nothing comes before the first token, so it never is."""
        return len(self.labels) - 1 - self.labels[1:].count(NOT_LEARNED)


class Renderer:
    """Renders rows for one model."""

    def __init__(self, tokenizer: Any, max_length: int, assistant_only_loss: bool) -> None:
        """Render with `tokenizer`, of transformers, into `max_length` tokens at most.

        Raises:
            InvalidRequest: the tokenizer cannot tell where its tokens stand in a text.
        """
        self._encoder = Encoder(tokenizer)
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._assistant_only = assistant_only_loss
        self._template = ChatTemplate(tokenizer) if tokenizer.chat_template else None

    @property
    def warnings(self) -> list[str]:
        """Tell what of training and serving cannot be made the same."""
        if self._template is None or self._template.serves_as_trained:
            return []
        return [_PROMPTED_OTHERWISE]

    def render(self, row: Row) -> Example:
        """Render one row; raise `BadRow` when nothing in it can be learned."""
        (result,) = self.render_all([row])
        if isinstance(result, BadRow):
            raise result
        return result

    def render_all(self, rows: Sequence[Row]) -> list[Example | BadRow]:
        """Render many rows, in less time than one by one; give each, or what is wrong with it."""
        results: dict[int, Example | BadRow] = {}
        rendered: dict[int, Rendered] = {}
        for index, row in enumerate(rows):
            try:
                rendered[index] = self._text(row)
            except BadRow as error:
                results[index] = error
        encoded = self._encoder.encode(list(rendered.values()), self._marks, self._end_of_turn)
        for index, tokens in zip(rendered, encoded, strict=True):
            try:
                results[index] = self._example(rows[index], tokens)
            except BadRow as error:
                results[index] = error
        return [results[index] for index in range(len(rows))]

    @property
    def _marks(self) -> tuple[str, ...]:
        return self._template.marks if self._template else ()

    @property
    def _end_of_turn(self) -> int | None:
        return self._template.end_of_turn if self._template else None

    def _chat(self, row: Row) -> tuple[Message, ...]:
        """Give the chat that a row is to this model; none where it is plain text."""
        if row.prompt is None or row.completion is None or self._template is None:
            return row.messages
        return (Message("user", row.prompt), Message("assistant", row.completion))

    def _text(self, row: Row) -> Rendered:
        if chat := self._chat(row):
            if self._template is None:
                raise BadRow(row.line, _NO_TEMPLATE)
            return self._template.render(row.line, chat)
        prompt, text = (row.prompt or "", row.completion) if row.text is None else ("", row.text)
        if not text:
            raise BadRow(row.line, NOTHING)
        answer = Answer(len(prompt), len(prompt + text), learned=True)
        return Rendered(
            prompt + text, (answer,), special_tokens=True, add_end=row.completion is not None
        )

    def _example(self, row: Row, tokens: Tokens) -> Example:
        whole = len(tokens.ids)
        chat: Sequence[Message] = self._chat(row)
        while len(tokens.ids) > self._max_length and self._template is not None:
            shorter = _without_oldest(chat, tokens, self._max_length)
            if shorter is None:
                break
            chat = shorter
            rendered = self._template.render(row.line, chat)
            (tokens,) = self._encoder.encode([rendered], self._marks, self._end_of_turn)
        ids, labels = self._cut(tokens, self._labels(tokens))
        example = Example(row.line, ids, labels, whole - len(ids))
        if not example.learned_tokens:
            raise BadRow(row.line, NOTHING)
        return example

    def _labels(self, tokens: Tokens) -> list[int]:
        if self._assistant_only:
            labels = [NOT_LEARNED] * len(tokens.ids)
            for start, end, learned in tokens.answers:
                if learned:
                    labels[start:end] = tokens.ids[start:end]
            return labels
        labels = list(tokens.ids)
        for start, end, learned in tokens.answers:
            if not learned:
                labels[start:end] = [NOT_LEARNED] * (end - start)
        return labels

    def _cut(self, tokens: Tokens, labels: list[int]) -> tuple[list[int], list[int]]:
        """Cut what is too long: the beginning of the prompt, then the end of the answer."""
        limit = self._max_length
        if len(tokens.ids) <= limit:
            return tokens.ids, labels
        start, end = next(
            ((start, end) for start, end, learned in reversed(tokens.answers) if learned), (0, 0)
        )
        kept = min(start, max(limit - (end - start), int(limit * _PROMPT_KEPT), 1))
        first = start - kept
        last = min(end, first + limit)
        ids, labels = tokens.ids[first:last], labels[first:last]
        begin = tokens.ids[0]
        if begin == self._tokenizer.bos_token_id and tokens.ids.count(begin) == 1:
            ids[0], labels[0] = begin, NOT_LEARNED  # many models are at a loss without it
        return ids, labels


def _without_oldest(
    chat: Sequence[Message], tokens: Tokens, limit: int
) -> Sequence[Message] | None:
    """Leave out what follows the last answer to learn, then as few of the oldest turns as do.

    None when one turn is left: what instructs the model stays.
    """
    said = [index for index, message in enumerate(chat) if message.role == "assistant"]
    learned = [index for index in said if chat[index].learned]
    if not learned:
        return None
    if learned[-1] + 1 < len(chat):
        return chat[: learned[-1] + 1]
    if len(said) == 1:
        return None
    surplus = len(tokens.ids) - limit
    enough = (n for n, answer in enumerate(tokens.answers[:-1]) if answer.end >= surplus)
    oldest = said[next(enough, len(said) - 2)]
    instructions = [message for message in chat[:oldest] if message.role in _INSTRUCTIONS]
    return [*instructions, *chat[oldest + 1 :]]
