"""The model's tokenizer, as the worker needs it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import openvino_genai as genai

from npu_jupyter.engine.messages import Generate, TokenLogprob
from npu_jupyter.errors import ContextLengthExceeded, InvalidRequest

_PROBE = "Hello, world . It 's a probe , isn 't it ?  Yes !"  # what some tokenizers tidy up


class ModelTokenizer:
    """Texts and chats to token ids and back."""

    def __init__(self, tokenizer: genai.Tokenizer, max_tokens: int) -> None:
        """Wrap `tokenizer`, for texts of `max_tokens`, and find out how it works."""
        self.tokenizer = tokenizer
        self._cut_at = self._find_cut(max_tokens)
        self.max_tokens = min(max_tokens, self._cut_at - 1) if self._cut_at else max_tokens
        ids = self.encode(_PROBE)
        self._pieces = self._joinable_pieces(ids)
        alone = [tokenizer.decode(row, skip_special_tokens=True) for row in (ids, ids[:1])]
        together = tokenizer.decode([ids, ids[:1]], skip_special_tokens=True)
        # Shorter rows are padded, and a padding token that is not special would show as text.
        self._decodes_ragged = alone == together

    def _joinable_pieces(self, probe: list[int]) -> dict[int, bytes] | None:
        """Map tokens to the bytes that each adds to a text; None where that is not all there is.

        It is so for byte-level vocabularies, and joining bytes costs next to nothing, where a
        call of the engine's detokenizer waits for threads that are busy with the model.
        """
        if _text(self.vocabulary, probe) != self.tokenizer.decode(probe, skip_special_tokens=True):
            return None
        rows = [[token] for token in range(self.vocabulary_size)]
        pieces = {}
        for token, text in enumerate(self.tokenizer.decode(rows, skip_special_tokens=True)):
            alone = _text(self.vocabulary, [token])
            if text and text != alone:
                return None
            special = bool(alone) and not text
            pieces[token] = b"" if special else self.vocabulary.get(token, b"")
        return pieces

    def _find_cut(self, max_tokens: int) -> int | None:
        """Count the tokens at which texts are cut without a word; None when they are not.

        The tokenizer that openvino_genai makes of a GGUF file cuts at 8,192 tokens, whatever the
        model's context.
        """
        short, long = (len(self.encode(" a" * n)) for n in (max_tokens + 1, 2 * max_tokens + 2))
        return long if short == long else None

    def check_size(self, text: str, param: str) -> None:
        """Refuse a text that is too long however it is cut into tokens, before that takes time.

        Raises:
            ContextLengthExceeded: with the fewest tokens that it can have, and the limit.
        """
        fewest = len(text.encode()) // self._longest_token_bytes
        if fewest > self.max_tokens:
            raise self.too_long(f"at least {fewest}", param)

    def too_long(self, tokens: str, param: str) -> ContextLengthExceeded:
        """Say that a text of so many `tokens` is too long."""
        message = (
            f"This text has {tokens} tokens and the model takes {self.max_tokens} at most here. "
            "Shorten or split it."
        )
        return ContextLengthExceeded(message, param=param)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Give the token ids of `text`, with the model's special tokens around it if asked."""
        ids = self.tokenizer.encode(text, add_special_tokens=special).input_ids
        row: list[int] = ids.data[0].tolist()
        return row

    def lengths(self, texts: list[str]) -> npt.NDArray[np.int64]:
        """Count the tokens of each text, special tokens included."""
        mask = self.tokenizer.encode(texts, add_special_tokens=True).attention_mask.data
        counts: npt.NDArray[np.int64] = mask.sum(axis=1)
        return counts

    def decode(self, rows: list[list[int]]) -> list[str]:
        """Decode each row without its special tokens and without half a character at its end."""
        if self._pieces is not None:
            return [_text(self._pieces, row) for row in rows]
        if self._decodes_ragged:
            texts: list[str] = self.tokenizer.decode(rows, skip_special_tokens=True)
            return texts
        return [self.tokenizer.decode(row, skip_special_tokens=True) if row else "" for row in rows]

    def prompts(self, request: Generate) -> list[list[int]]:
        """Give the token ids of each prompt of `request`.

        Raises:
            InvalidRequest: when there is no chat template, it refuses the messages, or a prompt
                is empty or has ids that the model does not know.
            ContextLengthExceeded: when a prompt is longer than the model takes, with both numbers.
        """
        if request.messages is not None:
            return [self._chat(request.messages, request.template_kwargs)]
        return [self._raw(prompt, i) for i, prompt in enumerate(request.prompts or [])]

    def _chat(self, messages: list[dict[str, Any]], template_kwargs: dict[str, Any]) -> list[int]:
        if not self.tokenizer.chat_template:
            message = "This model has no chat template. Use /v1/completions with a prompt."
            raise InvalidRequest(message, param="messages")
        try:
            text = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, extra_context=template_kwargs
            )
        except Exception as error:
            reason = str(error).strip().splitlines()[-1]
            message = f"The model's chat template refuses these messages: {reason}"
            raise InvalidRequest(message, param="messages") from error
        # The template wrote the special tokens; a second BOS makes answers worse.
        return self._checked(text, "messages", special=False)

    def _checked(self, prompt: str | list[int], param: str, *, special: bool) -> list[int]:
        """Give the tokens of a prompt that is not too long."""
        if isinstance(prompt, str):
            self.check_size(prompt, param)
            ids = self.encode(prompt, special=special)
        else:
            ids = prompt
        if len(ids) > self.max_tokens:
            at_least = "at least " if len(ids) == self._cut_at else ""
            raise self.too_long(f"{at_least}{len(ids)}", param)
        return ids

    def _raw(self, prompt: str | list[int], index: int) -> list[int]:
        ids = self._checked(prompt, f"prompt.{index}", special=True)
        if not ids:
            message = "A prompt must have at least one token."
            raise InvalidRequest(message, param=f"prompt.{index}")
        if max(ids) >= self.vocabulary_size or min(ids) < 0:
            message = f"Token ids of this model go from 0 to {self.vocabulary_size - 1}."
            raise InvalidRequest(message, param=f"prompt.{index}")
        return ids

    @cached_property
    def vocabulary(self) -> dict[int, bytes]:
        """Map token ids to their bytes."""
        return {token: text for text, token in self.tokenizer.get_vocab().items()}

    @cached_property
    def _longest_token_bytes(self) -> int:
        return max(len(text) for text in self.vocabulary.values())

    @cached_property
    def vocabulary_size(self) -> int:
        """Count the token ids."""
        return max(self.vocabulary) + 1

    def logprob(self, token: int, logprob: float) -> TokenLogprob:
        """Describe a chosen token as OpenAI does."""
        raw = self.vocabulary.get(token, b"")
        return TokenLogprob(token, raw.decode("utf-8", errors="replace"), list(raw), logprob)


def _text(pieces: dict[int, bytes], ids: list[int]) -> str:
    """Join the bytes of tokens, leaving out what is no whole character."""
    return b"".join([pieces.get(token, b"") for token in ids]).decode("utf-8", errors="ignore")


def tensor(ids: list[int]) -> ov.Tensor:
    """Give `ids` the shape that the pipelines take."""
    return ov.Tensor(np.array([ids], dtype=np.int64))
