"""Models with something wrong in them: each is refused by name, and nothing is registered."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from npu_jupyter.errors import InvalidModel
from npu_jupyter.registry.store import Registry

_CONVERT_TOKENIZER = """
import sys, openvino
from openvino_tokenizers import convert_tokenizer
from transformers import AutoTokenizer
pair = convert_tokenizer(AutoTokenizer.from_pretrained(sys.argv[1]), with_detokenizer=True)
for model, name in zip(pair, ("openvino_tokenizer.xml", "openvino_detokenizer.xml")):
    openvino.save_model(model, sys.argv[2] + "/" + name)
"""
_TOKENIZER_FILES = ("openvino_tokenizer.xml", "openvino_tokenizer.bin",
                    "openvino_detokenizer.xml", "openvino_detokenizer.bin")  # fmt: skip


def _noise(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same each time


@pytest.fixture(autouse=True)
def nothing_stays(registry: Registry) -> Iterator[None]:
    """Hold every refusal to leaving nothing registered and nothing on the disk."""
    yield
    assert registry.models() == []
    data_dir = Path(registry.data_dir)
    assert not [*data_dir.glob("incoming/*"), *data_dir.glob("models/*")]


@pytest.fixture(scope="session")
def other_tokenizer(embedder_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give MiniLM's tokenizer with its words shuffled, in both forms."""
    folder = tmp_path_factory.mktemp("other-tokenizer")
    tokenizer = json.loads((embedder_original / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    words = [word for word in vocabulary if word.isalpha()]
    ids = [vocabulary[word] for word in words]
    _noise(0).shuffle(ids)
    vocabulary.update(zip(words, ids, strict=True))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    for name in ("tokenizer_config.json", "config.json"):
        shutil.copyfile(embedder_original / name, folder / name)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", _CONVERT_TOKENIZER, str(folder), str(folder)]
    subprocess.run(command, check=True, env=environment)
    return folder


@pytest.fixture
def ir(embedder_ir: Path, tmp_path: Path) -> Path:
    """Give a copy of MiniLM's IR to break."""
    return Path(shutil.copytree(embedder_ir, tmp_path / "minilm"))


def _refused(registry: Registry, source: Path, message: str) -> str:
    with pytest.raises(InvalidModel, match=message) as caught:
        registry.pull(str(source), "broken")
    return caught.value.message


def test_another_models_openvino_tokenizer(
    registry: Registry, ir: Path, other_tokenizer: Path
) -> None:
    for name in _TOKENIZER_FILES:
        shutil.copyfile(other_tokenizer / name, ir / name)
    message = _refused(registry, ir, "Model broken has a wrong tokenizer: 'Hello world' becomes")
    # The ids that MiniLM was trained with.
    assert "where the model was made with [7592, 2088]" in message


def test_another_models_tokenizer_in_both_forms(
    registry: Registry, ir: Path, other_tokenizer: Path
) -> None:
    for name in (*_TOKENIZER_FILES, "tokenizer.json"):
        shutil.copyfile(other_tokenizer / name, ir / name)
    _refused(registry, ir, "broken finds the paraphrase of [0-3] in 8")


def test_a_tokenizer_that_its_vocabulary_file_contradicts(
    registry: Registry, ir: Path, other_tokenizer: Path, embedder_original: Path
) -> None:
    for name in (*_TOKENIZER_FILES, "tokenizer.json"):
        shutil.copyfile(other_tokenizer / name, ir / name)
    shutil.copyfile(embedder_original / "vocab.txt", ir / "vocab.txt")
    _refused(registry, ir, "wrong tokenizer: token .* in the vocabulary beside it")


def test_a_tokenizer_larger_than_the_model(registry: Registry, ir: Path) -> None:
    config = json.loads((ir / "config.json").read_text(encoding="utf-8"))
    config["vocab_size"] = 30_000
    (ir / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _refused(registry, ir, "it knows 30522 tokens and the model 30000")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("openvino_tokenizer.xml", "convert_tokenizer ORIGINAL_MODEL"),
        ("openvino_tokenizer.bin", "openvino_tokenizer.bin is missing"),
        ("tokenizer.json", "no tokenizer.json to check the tokenizer against"),
        ("openvino_model.bin", "openvino_model.bin is missing"),
        ("config.json", "has no config.json"),
        ("1_Pooling/config.json", "does not say how its token vectors become one"),
    ],
)
def test_a_missing_file(registry: Registry, ir: Path, missing: str, message: str) -> None:
    (ir / missing).unlink()
    if missing == "1_Pooling/config.json":
        (ir / "modules.json").unlink()
    _refused(registry, ir, message)


@pytest.mark.parametrize("name", ["openvino_model.bin", "openvino_tokenizer.bin"])
def test_a_truncated_ir(registry: Registry, ir: Path, name: str) -> None:
    size = (ir / name).stat().st_size
    os.truncate(ir / name, size // 2)
    message = _refused(registry, ir, f"{name} is cut short")
    assert f"it has {size // 2} bytes" in message


def test_a_damaged_xml_and_a_damaged_config(registry: Registry, ir: Path) -> None:
    config = (ir / "config.json").read_text(encoding="utf-8")
    (ir / "config.json").write_text("{", encoding="utf-8")
    _refused(registry, ir, "config.json is damaged")
    (ir / "config.json").write_text(config, encoding="utf-8")
    os.truncate(ir / "openvino_model.xml", 5_000)
    _refused(registry, ir, "openvino_model.xml is damaged")


def test_weights_of_noise(registry: Registry, ir: Path) -> None:
    weights = ir / "openvino_model.bin"
    weights.write_bytes(_noise(0).randbytes(weights.stat().st_size))
    _refused(registry, ir, "cannot be run|finds the paraphrase of [0-3] in 8")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "max_tokens and mean_tokens"),
        ("config.json", {"architectures": ["CLIPVisionTransformer"]}, "CLIPVisionTransformer"),
        ("config.json", {"architectures": ["T5ForConditionalGeneration"]}, "T5For"),
    ],
)
def test_what_the_engine_would_compute_wrongly(
    registry: Registry, ir: Path, file: str, change: dict[str, object], message: str
) -> None:
    config = json.loads((ir / file).read_text(encoding="utf-8"))
    (ir / file).write_text(json.dumps({**config, **change}), encoding="utf-8")
    if file == "config.json":
        shutil.rmtree(ir / "1_Pooling")
        (ir / "modules.json").unlink()
    _refused(registry, ir, message)


def test_an_embedder_with_a_dense_layer(registry: Registry, ir: Path) -> None:
    modules = json.loads((ir / "modules.json").read_text(encoding="utf-8"))
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "x.models.Dense"})
    (ir / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    _refused(registry, ir, "through Dense, which is not supported")


# GGUF files


def _gguf_with(gguf: Path, target: Path, **strings: str) -> Path:
    """Copy a GGUF file with other strings in its metadata, and every tensor where it was."""
    data = gguf.read_bytes()
    balance = "general.organization"
    grown = 0
    for key, new in strings.items():
        data, more = _replace(data, key.replace("__", "."), new)
        grown += more
    old = len("HuggingFaceTB")
    data, _ = _replace(data, balance, "x" * (old - grown))
    target.write_bytes(data)
    return target


def _replace(data: bytes, key: str, new: str) -> tuple[bytes, int]:
    start = data.index(key.encode()) + len(key) + 4  # after the type
    length = int.from_bytes(data[start : start + 8], "little")
    value = len(new).to_bytes(8, "little") + new.encode()
    return data[:start] + value + data[start + 8 + length :], len(new) - length


def test_a_gguf_file_of_another_architecture(
    registry: Registry, gguf: Path, tmp_path: Path
) -> None:
    path = _gguf_with(gguf, tmp_path / "x.gguf", general__architecture="mamba")
    message = _refused(registry, path, "x.gguf is a mamba model")
    assert "llama, qwen2, qwen3" in message
    assert "--precision" in message


def test_a_gguf_file_whose_tokenizer_openvino_reads_wrongly(
    registry: Registry, gguf: Path, tmp_path: Path
) -> None:
    # OpenVINO knows two ways to split text and takes one of them for whatever a file says.
    path = _gguf_with(gguf, tmp_path / "x.gguf", tokenizer__ggml__pre="llama-bpe")
    message = _refused(registry, path, "Model broken has a wrong tokenizer")
    assert "converts the tokenizer too" in message


def test_a_gguf_file_with_an_unknown_tokenizer(
    registry: Registry, gguf: Path, tmp_path: Path
) -> None:
    path = _gguf_with(gguf, tmp_path / "x.gguf", tokenizer__ggml__pre="tekken")
    _refused(registry, path, "of kind gpt2/tekken, which cannot be checked")


def test_an_empty_a_cut_and_a_foreign_gguf_file(
    registry: Registry, gguf: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.gguf"
    path.touch()
    _refused(registry, path, "x.gguf is empty")
    path.write_bytes(b"<html>Not found</html>")
    _refused(registry, path, "no GGUF file")
    with gguf.open("rb") as whole:
        path.write_bytes(whole.read(50_000_000))
    _refused(registry, path, "damaged or cut short at 50000000 bytes")
    with gguf.open("rb") as whole:
        path.write_bytes(whole.read(1000))
    _refused(registry, path, "damaged or cut short")


@pytest.mark.parametrize("seed", range(4))
def test_a_gguf_file_with_a_damaged_header(
    registry: Registry, gguf: Path, tmp_path: Path, seed: int
) -> None:
    noise = _noise(seed)
    data = bytearray(gguf.read_bytes()[:4_000_000])
    for _ in range(200):
        data[noise.randrange(8, 4000)] = noise.randrange(256)
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    _refused(registry, path, "Fetch it again|brought down the process|cannot be")


def test_a_gguf_file_with_weights_of_noise(registry: Registry, gguf: Path, tmp_path: Path) -> None:
    path = Path(shutil.copyfile(gguf, tmp_path / "x.gguf"))
    noise = _noise(0)
    with path.open("r+b") as file:
        for start in range(40_000_000, gguf.stat().st_size - 100_000, 1_000_000):
            file.seek(start)
            file.write(noise.randbytes(100_000))
    _refused(registry, path, "finds plain English less likely than chance|cannot be run")
