"""A model that is tiny and real, and rows for it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from npu_jupyter.finetune.datasets.rows import Message, Row, write_rows
from npu_jupyter.registry.gguf_file import GgufFile
from npu_jupyter.registry.gguf_tokenizer import save_tokenizer
from npu_jupyter.registry.store import Registry

_WORDS = ("harbour", "boat", "tide", "crane", "quay", "rope", "salt", "wind", "gull", "anchor")
ROWS = 24


@pytest.fixture(scope="session")
def tiny(demo_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a Llama of two layers, of random weights, with SmolLM2's tokenizer."""
    registry = Registry(data_dir=str(demo_data_dir))
    gguf = GgufFile(registry.get("smollm2-135m-instruct").path)
    registry.close()
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(gguf, folder)
    return folder


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a snapshot of chats of many lengths, of which two have the same text."""
    chance = random.Random(0)  # noqa: S311 - the same rows each time

    def words(most: int) -> str:
        return " ".join(chance.choices(_WORDS, k=chance.randint(3, most)))

    chats = [(words(40), words(25)) for _ in range(ROWS - 1)]
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(
        path,
        (
            Row(line, (Message("user", asked), Message("assistant", said)))
            for line, (asked, said) in enumerate([*chats, chats[0]], start=1)
        ),
    )
    return path
