"""The pipelines of openvino_genai without us, in a process of their own: what we compare with."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from texts import Chat

from npu_jupyter.engine.messages import Load
from npu_jupyter.registry.records import ModelRecord, ModelType


@dataclass(frozen=True, slots=True)
class Generated:
    """What one run of several requests took."""

    seconds: float
    first_token_s: float
    """Until any request had its first token."""
    tokens: int


class BareGeneration:
    """A stepped `ContinuousBatchingPipeline` with the scheduler settings that a worker has."""

    def __init__(self, path: Path) -> None:
        """Read and compile the model, and run a token through it."""
        import openvino_genai as genai

        scheduler = genai.SchedulerConfig()
        load = Load(name="", type="", path=str(path), device="CPU")
        scheduler.max_num_batched_tokens = load.max_batched_tokens
        scheduler.dynamic_split_fuse = True
        scheduler.cache_size = load.kv_cache_gib
        scheduler.enable_prefix_caching = load.prefix_caching
        self._pipeline = genai.ContinuousBatchingPipeline(load.path, scheduler, load.device, {})
        self._tokenizer = self._pipeline.get_tokenizer()
        self._config = genai.GenerationConfig
        self._structured = genai.StructuredOutputConfig
        self._requests = 0
        self.generate([[{"role": "user", "content": "Hello"}]], new_tokens=1)

    def generate(
        self, chats: Sequence[Chat], new_tokens: int, schema: str | None = None
    ) -> Generated:
        """Answer `chats` together, each with `new_tokens`; texts are decoded once, at the end.

        With a JSON schema an answer ends as soon as it is whole.
        """
        config = self._config()
        config.max_new_tokens = new_tokens
        if schema is None:
            config.ignore_eos = True
        else:
            base = self._pipeline.get_config()
            config.eos_token_id, config.stop_token_ids = base.eos_token_id, base.stop_token_ids
            config.structured_output_config = self._structured(json_schema=schema)
        started = time.perf_counter()
        first = 0.0
        handles = [self._add(chat, config) for chat in chats]
        answers: list[list[int]] = [[] for _ in handles]
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
            for handle, answer in zip(handles, answers, strict=True):
                while handle.can_read():
                    for output in handle.read().values():
                        answer.extend(output.generated_ids)
                        first = first or time.perf_counter()
        self._tokenizer.decode(answers, skip_special_tokens=True)
        ended = time.perf_counter()
        return Generated(ended - started, first - started, sum(map(len, answers)))

    def _add(self, chat: Chat, config: Any) -> Any:
        text = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True)
        ids = self._tokenizer.encode(text, add_special_tokens=False).input_ids
        self._requests += 1
        return self._pipeline.add_request(self._requests, ids, config)


class BareEmbedding:
    """A `TextEmbeddingPipeline`, and several ways to feed it."""

    def __init__(self, path: Path) -> None:
        """Read and compile the model, and embed a word."""
        import openvino_genai as genai

        config = genai.TextEmbeddingPipeline.Config()
        config.pooling_type = genai.TextEmbeddingPipeline.PoolingType.MEAN
        config.normalize = True
        self._pipeline = genai.TextEmbeddingPipeline(str(path), "CPU", config)
        self._tokenizer = genai.Tokenizer(str(path))
        self._pipeline.embed_query("Hello")

    def embed(self, texts: Sequence[str], batching: str) -> float:
        """Embed `texts`, batched as one of `BATCHINGS` says; return the seconds."""
        started = time.perf_counter()
        kind, limit = BATCHINGS[batching]
        batches = getattr(self, kind)(texts, limit)
        rows = [
            np.asarray(self._pipeline.embed_documents([texts[i] for i in batch]), dtype=np.float32)
            for batch in batches
        ]
        order = np.argsort([i for batch in batches for i in batch])
        vectors = np.concatenate(rows)[order]
        assert len(vectors) == len(texts)
        return time.perf_counter() - started

    def as_they_come(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Cut every `limit` texts."""
        indices = list(range(len(texts)))
        return [indices[i : i + limit] for i in range(0, len(texts), limit)]

    def sorted_by_count(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Sort by length in characters, which costs nothing, and cut every `limit` texts."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        return [order[i : i + limit] for i in range(0, len(order), limit)]

    def sorted_by_tokens(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Sort by length in tokens, and cut where padded rows would exceed `limit` tokens."""
        mask = self._tokenizer.encode(list(texts)).attention_mask.data
        lengths = mask.sum(axis=1)
        batches: list[list[int]] = [[]]
        for i in np.argsort(lengths).tolist():
            if batches[-1] and (len(batches[-1]) + 1) * lengths[i] > limit:
                batches.append([])
            batches[-1].append(i)
        return batches


BATCHINGS = {
    "one by one": ("as_they_come", 1),
    "32 as they come": ("as_they_come", 32),
    "all at once": ("as_they_come", 1_000_000),
    **{f"sorted, {n} at once": ("sorted_by_count", n) for n in (2, 4, 8, 16, 32, 64)},
    **{
        f"sorted, {n} tokens at once": ("sorted_by_tokens", n)
        for n in (128, 256, 512, 1024, 2048, 4096)
    },
}
"""Name → method and limit."""

_pipeline: Any = None
"""What the child process has loaded."""


def _load(kind: Callable[[Path], Any], path: Path) -> None:
    global _pipeline  # noqa: PLW0603 - a pool's initializer has no other place
    _pipeline = kind(path)


def _call(method: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(_pipeline, method)(*arguments)


class BareProcess:
    """A child process with one bare pipeline in it, idle unless called."""

    def __init__(self, record: ModelRecord) -> None:
        """Load the model of `record` in a new process."""
        kind = BareGeneration if record.type is ModelType.LLM else BareEmbedding
        self._executor = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), _load, (kind, record.path)
        )

    def __enter__(self) -> Self:
        """Give the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._executor.shutdown()

    def generate(
        self, chats: Sequence[Chat], new_tokens: int, schema: str | None = None
    ) -> Generated:
        """Run `BareGeneration.generate` there."""
        done = self._executor.submit(_call, "generate", (chats, new_tokens, schema))
        generated: Generated = done.result()
        return generated

    def embed(self, texts: Sequence[str], batching: str) -> float:
        """Run `BareEmbedding.embed` there."""
        seconds: float = self._executor.submit(_call, "embed", (texts, batching)).result()
        return seconds
