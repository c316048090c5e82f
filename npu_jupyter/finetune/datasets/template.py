"""The model's own chat template: what it makes of a chat, and where in it the answers are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from npu_jupyter.errors import InvalidRequest
from npu_jupyter.finetune.datasets.rows import BadRow, Message

_QUESTION, _ANSWER = "\ue000", "\ue001"
"""Characters for private use: no template and hardly a dataset has them."""
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class Answer(NamedTuple):
    """Where an answer stands in a text, in characters."""

    start: int
    """Where the prompt ends that the model is given when it serves."""
    end: int | None
    """None is after the next token that ends a turn."""
    learned: bool


class Rendered(NamedTuple):
    """A text as the model is to read it."""

    text: str
    answers: tuple[Answer, ...]
    special_tokens: bool = False
    """Whether the tokenizer adds its own, such as BOS; a template has written them."""
    add_end: bool = False
    """Whether the end of the text does not end the turn, so that EOS must."""


class ChatTemplate:
    """Renders chats as serving does, and finds what the assistant says in them."""

    def __init__(self, tokenizer: Any) -> None:
        """Find out, by small chats, how the tokenizer's template writes turns.

        Raises:
            InvalidRequest: there is no template, or it cannot render a chat of two turns.
        """
        if not tokenizer.chat_template:
            raise InvalidRequest(
                "This model has no chat template, so it cannot be trained on chats. Give rows "
                "of prompt and completion, or of text.",
                param="dataset",
            )
        self._tokenizer = tokenizer
        question, answer = Message("user", _QUESTION), Message("assistant", _ANSWER)
        try:
            probe = self._apply([question, answer, question, answer])
            prompts = [self.prompt([question]), self.prompt([question, answer, question])]
        except _template_errors() as error:
            raise InvalidRequest(
                f"The model's chat template cannot render a chat: {error}. Give rows of text, or "
                "choose another model.",
                param="model_id",
            ) from error
        self.special = frozenset(
            index for index, token in tokenizer.added_tokens_decoder.items() if token.special
        )
        """Ids of the tokens that no text should hold."""
        tokens = [tokenizer.added_tokens_decoder[index].content for index in self.special]
        self.marks = tuple(token for token in tokens if token in probe)
        """The special tokens with which the template itself marks turns."""
        self.end_of_turn = self._end_of_turn(probe)
        """The token that ends each answer, the last one too; None where there is none."""
        self.serves_as_trained = all(map(probe.startswith, prompts))
        """Whether what comes before an answer is the same in training and in serving."""
        self._marks_answers = bool(_GENERATION.search(tokenizer.get_chat_template()))

    def _end_of_turn(self, probe: str) -> int | None:
        ends = [self._first_special(closing) for closing in probe.split(_ANSWER)[1:]]
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        alike = len(set(ends)) == 1
        return ends[0] if alike and (ends[0] != bos or bos == eos) else None

    def _first_special(self, text: str) -> int | None:
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return next((token for token in ids if token in self.special), None)

    def prompt(self, messages: Sequence[Message]) -> str:
        """Give what the model reads when it is asked to answer `messages`."""
        return self._apply(messages, add_generation_prompt=True)

    def render(self, line: int, messages: Sequence[Message]) -> Rendered:
        """Render a whole chat.

        Raises:
            BadRow: the template refuses the chat, or the chat holds the template's own marks.
        """
        self._refuse_marks(line, messages)
        try:
            if self._marks_answers and (marked := self._as_marked(messages)):
                return marked
            text = self._apply(messages)
            answers = [
                self._find(text, messages, index)
                for index, message in enumerate(messages)
                if message.role == "assistant"
            ]
        except _template_errors() as error:
            reason = str(error).strip().splitlines()[-1] if str(error) else repr(error)
            raise BadRow(line, f"the model's chat template refuses it: {reason}") from error
        return Rendered(text, tuple(answers), add_end=self._add_end(messages))

    def _add_end(self, messages: Sequence[Message]) -> bool:
        return self.end_of_turn is None and messages[-1].role == "assistant"

    def _refuse_marks(self, line: int, messages: Sequence[Message]) -> None:
        for number, message in enumerate(messages, 1):
            for mark in self.marks:
                if mark in message.content:
                    raise BadRow(
                        line,
                        f"message {number} holds {mark}, with which the model's chat template "
                        "marks turns; give the text alone",
                    )

    def _apply(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        text: str = self._tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return text

    def _as_marked(self, messages: Sequence[Message]) -> Rendered | None:
        """Take the template's word for where the answers are, if it marks each one once."""
        from transformers.utils.chat_template_utils import render_jinja_template

        chat = [{"role": message.role, "content": message.content} for message in messages]
        # Text and spans for each chat, whatever its type hint says.
        rendered: Any = render_jinja_template(
            conversations=[chat],
            chat_template=self._tokenizer.get_chat_template(),
            return_assistant_tokens_mask=True,
            **self._tokenizer.special_tokens_map,
        )
        (text,), (spans,) = rendered
        said = [message for message in messages if message.role == "assistant"]
        if len(said) != len(spans):
            return None
        answers = [
            Answer(start, end if self.end_of_turn is None else None, message.learned)
            for message, (start, end) in zip(said, spans, strict=True)
        ]
        return Rendered(text, tuple(answers), add_end=self._add_end(messages))

    def _find(self, text: str, messages: Sequence[Message], index: int) -> Answer:
        prompt = self.prompt(messages[:index])
        if text.startswith(prompt):
            start = len(prompt)
        else:
            start = self._content_start(text, messages, index)
        return Answer(start, self._end(text, messages, index), messages[index].learned)

    def _content_start(self, text: str, messages: Sequence[Message], index: int) -> int:
        """Find an answer where the template prompts for it otherwise than it writes it."""
        changed = list(messages)
        changed[index] = Message("assistant", _ANSWER)
        before, found, _ = self._apply(changed).partition(_ANSWER)
        if not found or not text.startswith(before):
            raise ValueError(f"message {index + 1} cannot be found in what it makes of the chat")
        return len(before)

    def _end(self, text: str, messages: Sequence[Message], index: int) -> int | None:
        if self.end_of_turn is not None:
            return None
        until = self._apply(messages[: index + 1])
        if not text.startswith(until):
            raise ValueError(f"the end of message {index + 1} cannot be found in what it makes")
        return len(until)


def _template_errors() -> tuple[type[Exception], ...]:
    from jinja2 import TemplateError

    return (TemplateError, TypeError, ValueError, KeyError, AttributeError)
