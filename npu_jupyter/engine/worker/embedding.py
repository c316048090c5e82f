"""Texts to vectors: shorter texts together, so that no long one pads the others."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino_genai as genai

from npu_jupyter.engine.messages import Embed, Embedded, Failed, Load, Output
from npu_jupyter.engine.worker.tokenizer import ModelTokenizer

_MAX_BATCH_TOKENS = 1024
_POOLING = {
    "pooling_mode_cls_token": genai.TextEmbeddingPipeline.PoolingType.CLS,
    "pooling_mode_mean_tokens": genai.TextEmbeddingPipeline.PoolingType.MEAN,
    "pooling_mode_lasttoken": genai.TextEmbeddingPipeline.PoolingType.LAST_TOKEN,
}


@dataclass(eq=False)
class _Job:
    """One request: its batches still to run, and the rows that are done."""

    id: int
    texts: list[str]
    batches: deque[list[int]]
    prompt_tokens: int
    rows: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict)


class Embedding:
    """A text embedding pipeline, fed with batches of texts of like length."""

    def __init__(
        self, load: Load, context_length: int, send: Callable[[list[Output]], None]
    ) -> None:
        """Read and compile the model."""
        folder = Path(load.path)
        config = genai.TextEmbeddingPipeline.Config()
        config.pooling_type = _pooling(folder)
        config.normalize = True
        config.max_length = context_length
        self._send = send
        self._jobs: deque[_Job] = deque()
        self._pipeline = genai.TextEmbeddingPipeline(
            load.path, load.device, config, **load.properties
        )
        self.tokenizer = ModelTokenizer(genai.Tokenizer(load.path), context_length)
        self.length = 0
        self.max_running = 4

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._jobs)

    def warm_up(self) -> None:
        """Embed a word, which also tells how long a vector is."""
        self.length = len(self._pipeline.embed_query("Hello"))

    def add(self, request: Embed) -> None:
        """Take a request and plan its batches.

        Raises:
            ContextLengthExceeded: when a text is longer than the model reads.
        """
        texts = [
            text if isinstance(text, str) else self.tokenizer.decode([text])[0]
            for text in request.inputs
        ]
        for i, text in enumerate(texts):
            self.tokenizer.check_size(text, f"input.{i}")
        lengths = self.tokenizer.lengths(texts)
        longest = int(lengths.argmax())
        if lengths[longest] > self.tokenizer.max_tokens:
            raise self.tokenizer.too_long(str(lengths[longest]), f"input.{longest}")
        self._jobs.append(_Job(request.id, texts, _batches(lengths), int(lengths.sum())))

    def cancel(self, request: int) -> None:
        """Forget a request."""
        self._jobs = deque(job for job in self._jobs if job.id != request)

    def step(self) -> None:
        """Run one batch of the request whose turn it is."""
        job = self._jobs.popleft()
        batch = job.batches.popleft()
        try:
            vectors = self._pipeline.embed_documents([job.texts[i] for i in batch])
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            self._send([Failed(job.id, "EngineFailed", f"The engine refused this input: {reason}")])
            return
        job.rows.update(zip(batch, np.asarray(vectors, dtype="<f4"), strict=True))
        if job.batches:
            self._jobs.append(job)
            return
        rows = np.stack([job.rows[i] for i in range(len(job.texts))])
        self._send([Embedded(job.id, rows.tobytes(), job.prompt_tokens)])


def _pooling(folder: Path) -> genai.TextEmbeddingPipeline.PoolingType:
    """Read how token vectors become one, as sentence-transformers writes it; mean by default."""
    path = folder / "1_Pooling" / "config.json"
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        for key, pooling in _POOLING.items():
            if config.get(key):
                return pooling
    return genai.TextEmbeddingPipeline.PoolingType.MEAN


def _batches(lengths: npt.NDArray[np.int64]) -> deque[list[int]]:
    """Sort texts by length and cut them where padding to the longest would exceed the limit."""
    batches: deque[list[int]] = deque()
    batch: list[int] = []
    for i in np.argsort(lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * int(lengths[i]) > _MAX_BATCH_TOKENS:
            batches.append(batch)
            batch = []
        batch.append(i)
    batches.append(batch)
    return batches
