"""Token ids that callers send instead of texts, and whose ids they are.

LangChain's ``OpenAIEmbeddings`` cuts texts into tokens of cl100k_base, OpenAI's vocabulary,
and sends those. Taken for a local model's own ids they would give vectors of garbage, without
any error.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from npu_jupyter.errors import InvalidRequest

if TYPE_CHECKING:
    from tiktoken import Encoding

_VOCABULARY = "cl100k_base"
_FETCH_TIMEOUT_S = 10.0
"""tiktoken downloads its vocabulary once, where there is a network."""
_RETRY_AFTER_S = 300.0


class TokenInput(StrEnum):
    """Whose token ids ``input`` holds."""

    TIKTOKEN = "tiktoken"
    """OpenAI's: they are decoded to text first."""
    MODEL = "model"
    """The model's own."""


class _Vocabulary:
    """OpenAI's vocabulary, fetched at the first need; a failure is remembered for a while."""

    def __init__(self) -> None:
        self._encoding: Encoding | None = None
        self._reason = ""
        self._retry_at = 0.0

    async def get(self) -> Encoding:
        """Give the vocabulary.

        Raises:
            InvalidRequest: it is not there; the message says what the caller can do.
        """
        if self._encoding is None and time.monotonic() >= self._retry_at:
            await self._fetch()
        if self._encoding is None:
            raise InvalidRequest(
                f"input holds token ids, and this server cannot read OpenAI's ({self._reason}). "
                "Send texts. With LangChain: "
                "OpenAIEmbeddings(check_embedding_ctx_length=False, …). If they are the model's "
                'own ids, set c.NpuApp.token_input = "model".',
                param="input",
            )
        return self._encoding

    async def _fetch(self) -> None:
        try:
            import tiktoken
        except ImportError:
            self._fail('pip install "npu-jupyter[tiktoken]" would bring the vocabulary')
            return
        try:
            fetch = asyncio.to_thread(tiktoken.get_encoding, _VOCABULARY)
            self._encoding = await asyncio.wait_for(fetch, _FETCH_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - whatever the network does
            self._fail(f"{_VOCABULARY} could not be fetched: {type(error).__name__}")

    def _fail(self, reason: str) -> None:
        self._reason = reason
        self._retry_at = time.monotonic() + _RETRY_AFTER_S


_vocabulary = _Vocabulary()


async def decode_cl100k(inputs: list[list[int]]) -> list[str]:
    """Turn OpenAI's token ids back into texts.

    Raises:
        InvalidRequest: the vocabulary is not there, or has no such ids.
    """
    encoding = await _vocabulary.get()
    try:
        return await asyncio.to_thread(lambda: [encoding.decode(ids) for ids in inputs])
    except (KeyError, OverflowError):
        raise InvalidRequest(
            f"input holds token ids that OpenAI's vocabulary {_VOCABULARY} does not have. "
            "Send texts instead.",
            param="input",
        ) from None
