"""Conversion to OpenVINO IR, and what is there without the packages for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from npu_jupyter.errors import InvalidModel, InvalidRequest
from npu_jupyter.registry.records import ModelFormat, ModelRecord, ModelType
from npu_jupyter.registry.store import Registry

ROOT = Path(__file__).parents[2]
# Some minutes each where other work shares the cores.
pytestmark = pytest.mark.timeout(900)
_CONVERTERS = ("torch", "transformers", "optimum", "nncf", "accelerate")
_ANSWER = """
import sys, openvino_genai
pipeline = openvino_genai.LLMPipeline(sys.argv[1], "CPU")
tokenizer = pipeline.get_tokenizer()
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True
)
print(pipeline.generate(prompt, max_new_tokens=30, do_sample=False))
"""
# What transformers makes of a GGUF file's tokenizer.
_TRAP = """
import sys, openvino
from pathlib import Path
from openvino_tokenizers import convert_tokenizer
from transformers import AutoTokenizer
gguf, folder = Path(sys.argv[1]), sys.argv[2]
tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
tokenizer.save_pretrained(folder)
pair = convert_tokenizer(AutoTokenizer.from_pretrained(folder), with_detokenizer=True)
for model, name in zip(pair, ("openvino_tokenizer.xml", "openvino_detokenizer.xml")):
    openvino.save_model(model, folder + "/" + name)
"""


def _run(*arguments: str) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", *arguments]
    return subprocess.run(
        command, check=True, env=environment, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def int8(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    """Give SmolLM2 converted to int8."""
    registry = Registry(data_dir=str(tmp_path_factory.mktemp("int8")))
    return registry.pull(str(gguf), "smol:int8", precision="int8")


@pytest.mark.slow
def test_a_gguf_file_becomes_int8_and_answers(int8: ModelRecord) -> None:
    assert (int8.type, int8.format) == (ModelType.LLM, ModelFormat.OPENVINO)
    assert (int8.architecture, int8.precision, int8.context_length) == ("llama", "int8", 8192)
    assert "Paris" in _run(_ANSWER, str(int8.path))
    config = json.loads((int8.path / "config.json").read_text(encoding="utf-8"))
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 2)


@pytest.mark.slow
def test_a_gguf_file_becomes_int4_in_groups_that_divide_its_layers(
    registry: Registry, gguf: Path, int8: ModelRecord
) -> None:
    record = registry.pull(str(gguf), "smol:int4", precision="int4")
    assert record.precision == "int4"
    assert record.size_bytes < 0.75 * int8.size_bytes
    # 576 and 1536 wide: 128 does not divide the first.
    code = "import sys, openvino; m = openvino.Core().read_model(sys.argv[1])\n"
    code += "print(m.get_rt_info(['nncf', 'weight_compression', 'group_size']).value)"
    assert _run(code, str(record.path / "openvino_model.xml")).strip() == "64"
    assert _run(_ANSWER, str(record.path)).strip()
    # Under the name of the file it would be another model than the file itself.
    assert registry.pull(str(gguf), "smol:int4", precision="int4") == record


@pytest.mark.slow
def test_the_tokenizer_that_transformers_makes_of_a_gguf_file_is_refused(
    registry: Registry, gguf: Path, int8: ModelRecord, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(int8.path, tmp_path / "trap"))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)
    _run(_TRAP, str(gguf), str(folder))
    with pytest.raises(InvalidModel, match="Model trap has a wrong tokenizer"):
        registry.pull(str(folder))
    assert registry.models() == []


@pytest.mark.slow
def test_an_end_token_that_is_not_the_models(
    registry: Registry, int8: ModelRecord, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(int8.path, tmp_path / "endless"))
    for name in ("config.json", "generation_config.json"):
        config = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**config, "eos_token_id": 7}), encoding="utf-8")
    with pytest.raises(InvalidModel, match=r"ends a text with token 2 .* the model with \[7\]"):
        registry.pull(str(folder))


@pytest.mark.slow
def test_an_embedder_becomes_fp16_on_request(registry: Registry, embedder_original: Path) -> None:
    record = registry.pull(str(embedder_original), precision="fp16")
    assert (record.name, record.precision) == ("minilm-original", "fp16")
    assert record.size_bytes > 45_000_000


def test_what_must_be_converted_cannot_stay_where_it_lies(registry: Registry, gguf: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be served where it lies"):
        registry.pull(str(gguf), precision="int8", in_place=True)


@pytest.fixture(scope="session")
def base_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a Python with everything but what converts models."""
    home = tmp_path_factory.mktemp("base")
    venv.create(home, symlinks=True, with_pip=False)
    variables = {"base": str(home), "platbase": str(home)}
    site = Path(sysconfig.get_path("purelib", "venv", variables))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().startswith(_CONVERTERS):
            (site / entry.name).symlink_to(entry)
    (site / "checkout.pth").write_text(str(ROOT), encoding="utf-8")
    return Path(sysconfig.get_path("scripts", "venv", variables)) / "python"


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs rights there")
def test_without_the_extra_a_gguf_file_is_served_and_a_conversion_names_what_to_install(
    base_python: Path, gguf: Path, embedder_original: Path, tmp_path: Path
) -> None:
    pull = "from npu_jupyter.cli.pull import PullApp; PullApp.launch_instance()"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(base_python), "-c", pull, *arguments, f"--data-dir={tmp_path}"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for arguments in ([str(embedder_original)], [str(gguf), "--precision=int8"]):
        refused = run(*arguments)
        assert refused.returncode == 1
        last = refused.stderr.strip().splitlines()[-1]
        assert last == (
            "jupyter npu pull: Converting a model needs packages that are not installed. "
            'Install them with: pip install "npu-jupyter[convert]"'
        )
    assert run(str(gguf)).returncode == 0
    assert [r.precision for r in Registry(data_dir=str(tmp_path)).models()] == ["Q4_1"]
