"""What the registry knows about a model, as plain values that any thread may hold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class ModelType(StrEnum):
    """What a model is for."""

    LLM = "llm"
    EMBEDDING = "embedding"


class ModelFormat(StrEnum):
    """What lies on disk."""

    GGUF = "gguf"
    OPENVINO = "openvino"
    ADAPTER = "adapter"
    """LoRA weights for a base model, in PEFT's folder with `SERVED_ADAPTER` beside."""


SERVED_ADAPTER = "served.safetensors"
"""In an adapter's folder, the weights in the form in which the engine applies them."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A registered model or adapter."""

    id: int
    name: str
    type: ModelType
    format: ModelFormat
    path: Path
    """The GGUF file, or the folder with openvino_model.xml."""
    source: str
    """Where it came from, in the form that `pull` takes."""
    created: int
    """Unix time in seconds."""
    size_bytes: int
    architecture: str | None = None
    precision: str | None = None
    """int4, int8, fp16 … or the GGUF quantisation."""
    context_length: int | None = None
    parent: str | None = None
    """The base model's name, for an adapter."""
    takes_adapters: bool = False
    """Whether this is a base in a worker for its adapters: a carrier."""
    carrier: ModelRecord | None = None
    """What is loaded for an adapter: its base, in a worker of its own that all its adapters share.

    The base's own worker knows no adapters: it is faster a token without, answers as if there
    were none, and shares no cache with them.
    """

    @property
    def loaded(self) -> ModelRecord:
        """What is loaded to run it."""
        return self.carrier or self

    @property
    def served_adapter(self) -> str:
        """The file that the engine applies to the base; empty for a model that is no adapter."""
        return str(self.path / SERVED_ADAPTER) if self.format is ModelFormat.ADAPTER else ""


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far an import is: told often, so keep it cheap."""

    stage: str
    """find, download, convert, check, register."""
    done_bytes: int = 0
    total_bytes: int = 0
    """0 when not known."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A scoped API key, as the database keeps it: never the key itself."""

    id: int
    name: str
    scopes: tuple[str, ...]
    owner: str
    created: int
    """Unix time in seconds."""
    last_used: int | None
    revoked: int | None
    """Unix time in seconds; None while the key is valid."""
