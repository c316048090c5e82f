"""What a caller hands to the engine, and what he sees while it waits and runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from npu_jupyter.engine.messages import Delta, Sampling


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: shares and limits are by caller."""

    name: str
    """A user on a Hub, an API key's id, or ``local``."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A checked request for text: either a chat or raw prompts."""

    sampling: Sampling
    messages: list[dict[str, Any]] | None = None
    prompts: list[str | list[int]] | None = None
    """Each a text, or token ids of the model's own tokenizer."""
    n: int = 1
    """Choices for each prompt."""
    echo: bool = False
    """Whether each choice begins with its prompt."""
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    """Extra variables for the chat template."""

    @property
    def choices(self) -> int:
        """Count the sequences that will run: their share of the engine."""
        return self.n * (len(self.prompts) if self.prompts else 1)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Place in the model's line; 1 is next."""

    position: int
    of: int


@dataclass(frozen=True, slots=True)
class LoadingModel:
    """The model that the request needs is being loaded."""

    stage: str
    percent: float | None
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class Running:
    """The worker took the request."""

    device: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Text:
    """What the choices gained since the last event; several deltas when the reader is slow."""

    deltas: list[Delta]


@dataclass(frozen=True, slots=True)
class Vectors:
    """The embeddings of a request: float32, little-endian, row after row."""

    data: bytes
    length: int
    """Numbers in one embedding."""
    prompt_tokens: int
    device: str


StreamEvent = Waiting | LoadingModel | Running | Text
