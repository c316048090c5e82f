"""A real model's tokenizer, as training reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from npu_jupyter.registry.gguf_file import GgufFile
from npu_jupyter.registry.gguf_tokenizer import save_tokenizer
from npu_jupyter.registry.store import Registry


@pytest.fixture(scope="session")
def gguf(demo_data_dir: Path) -> Path:
    """Give SmolLM2's GGUF file; read it only."""
    return Registry(data_dir=str(demo_data_dir)).get("smollm2-135m-instruct").path


@pytest.fixture(scope="session")
def tokenizer_folder(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the tokenizer that is in the GGUF file."""
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(GgufFile(gguf), folder)
    return folder


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> Any:
    """Give SmolLM2's tokenizer; the test may change it."""
    return AutoTokenizer.from_pretrained(tokenizer_folder)
