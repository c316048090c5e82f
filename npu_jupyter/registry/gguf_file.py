"""Read a GGUF file's header: its metadata, and whether its tensors are all there.

Runs in a child process: the reader trusts counts and lengths that a damaged file makes up.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from npu_jupyter.errors import InvalidModel
from npu_jupyter.registry.folder import Facts
from npu_jupyter.registry.records import ModelType

_MAGIC = b"GGUF"


class GgufFile:
    """A GGUF file's metadata."""

    def __init__(self, path: Path) -> None:
        """Read the header; raise `InvalidModel` if it or a tensor is cut short."""
        from gguf import GGUFReader

        self.path = path
        size = path.stat().st_size
        if size == 0:
            raise InvalidModel(f"{path.name} is empty. Fetch it again.")
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise InvalidModel(
                f"{path.name} is no GGUF file: it begins with {magic!r}. Fetch it again."
            )
        try:
            self._reader = GGUFReader(path)
        except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
            raise InvalidModel(
                f"{path.name} is damaged or cut short at {size} bytes: {error}. Fetch it again."
            ) from error
        if not self._reader.tensors:
            raise InvalidModel(f"{path.name} holds no weights. Fetch it again.")

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value of the metadata."""
        field = self._reader.get_field(key)
        return default if field is None else field.contents()

    @property
    def architecture(self) -> str:
        """The name that decides which keys hold the model's shape."""
        return str(self.get("general.architecture", "unknown"))

    def facts(self) -> Facts:
        """Sum up what the registry keeps."""
        context = self.get(f"{self.architecture}.context_length")
        tokens = self.get("tokenizer.ggml.tokens", [])
        return Facts(
            ModelType.LLM,
            self.architecture,
            int(context) if context else None,
            len(tokens) or None,
        )

    def quantisation(self) -> str:
        """Name the type in which most of the weights are, such as Q4_1."""
        share: Counter[str] = Counter()
        for tensor in self._reader.tensors:
            share[tensor.tensor_type.name] += int(tensor.n_bytes)
        return share.most_common(1)[0][0]

    def parameter_count(self) -> int:
        """Count the weights' numbers."""
        return sum(int(tensor.n_elements) for tensor in self._reader.tensors)
