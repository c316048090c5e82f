"""From PEFT's folder to a model in the registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finetune.adapter_files import write_adapter
from safetensors.numpy import load_file
from serving import EMBEDDER, LLM

from npu_jupyter.errors import Conflict, InvalidModel, InvalidRequest, ModelNotFound
from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.publish import publish_adapter, write_served
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.records import NewJob
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.registry.records import ModelFormat, PullProgress
from npu_jupyter.registry.store import Registry

Q = "base_model.model.model.layers.3.self_attn.q_proj"
UP = "base_model.model.model.layers.3.mlp.up_proj"


@pytest.fixture
def demo(demo_data_dir: Path, tmp_path: Path) -> Registry:
    return Registry(data_dir=str(shutil.copytree(demo_data_dir, tmp_path / "data")))


def scales(folder: Path) -> dict[str, float]:
    """Give by how much each layer's B grew."""
    write_served(folder, folder / "served.safetensors")
    before = load_file(folder / "adapter_model.safetensors")
    after = load_file(folder / "served.safetensors")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[k], after[k]) for k in before if ".lora_A." in k)
    b = {k.removesuffix(".lora_B.weight"): k for k in before if ".lora_B." in k}
    return {layer: float((after[k] / before[k]).mean()) for layer, k in b.items()}


def test_the_scale_is_in_the_weights(tmp_path: Path) -> None:
    assert scales(write_adapter(tmp_path / "a", r=8, lora_alpha=32))[Q] == pytest.approx(4)
    assert scales(write_adapter(tmp_path / "b", r=8, lora_alpha=8))[UP] == pytest.approx(1)


def test_rank_stabilised_lora_divides_by_the_root(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", r=16, lora_alpha=32, use_rslora=True)
    assert scales(folder)[Q] == pytest.approx(8)


def test_a_layer_may_have_a_scale_of_its_own(tmp_path: Path) -> None:
    folder = write_adapter(
        tmp_path / "a", r=8, lora_alpha=8, alpha_pattern={"layers.3.mlp.up_proj": 64}
    )
    found = scales(folder)
    assert (found[Q], found[UP]) == (pytest.approx(1), pytest.approx(8))
    assert found[UP.replace("3", "4")] == pytest.approx(1)


def test_the_scales_are_those_of_peft(tmp_path: Path) -> None:
    """PEFT says what each layer adds to its weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    small = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    recipe = LoraConfig(
        r=8,
        lora_alpha=20,
        use_rslora=True,
        target_modules="all-linear",
        rank_pattern={"q_proj": 4},
        alpha_pattern={"layers.1.mlp.up_proj": 48},
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(LlamaForCausalLM(small), recipe)
    model.save_pretrained(tmp_path)
    write_served(tmp_path, tmp_path / "served.safetensors")
    served = load_file(tmp_path / "served.safetensors")
    layers = [n for n, m in model.named_modules() if hasattr(m, "get_delta_weight")]
    assert len(layers) == 14
    for layer in layers:
        name = layer if layer.startswith("base_model.model.") else f"base_model.model.{layer}"
        ours = served[f"{name}.lora_B.weight"] @ served[f"{name}.lora_A.weight"]
        theirs = model.get_submodule(layer).get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "trained whole"),
        ({"lora_bias": True}, "bias"),
        ({"bias": "all"}, "bias"),
    ],
)
def test_what_the_engine_would_apply_wrongly_is_refused(
    tmp_path: Path, config: dict[str, Any], named: str
) -> None:
    folder = write_adapter(tmp_path / "a", **config)
    with pytest.raises(InvalidModel, match=f"{named}.*Merge it"):
        write_served(folder, folder / "served.safetensors")


def test_an_adapter_is_listed_with_its_base(demo: Registry, tmp_path: Path) -> None:
    base = demo.get(LLM)
    made = publish_adapter(demo, f"{LLM}:one", write_adapter(tmp_path / "a"), base, "job:1")
    assert demo.get(f"{LLM}:one") == made
    assert (made.parent, made.format, made.source) == (LLM, ModelFormat.ADAPTER, "job:1")
    assert made.type == base.type
    assert Path(made.served_adapter).is_file()
    assert (made.path / "adapter_config.json").is_file(), "PEFT could not read it any more"
    with pytest.raises(Conflict, match=f"{LLM}:one"):
        demo.remove(LLM)
    demo.remove(f"{LLM}:one")
    assert not made.path.exists()
    demo.remove(LLM)


def test_a_name_that_was_taken_in_the_meantime_costs_no_training(
    demo: Registry, tmp_path: Path
) -> None:
    base, folder = demo.get(LLM), write_adapter(tmp_path / "a")
    names = [publish_adapter(demo, f"{LLM}:x", folder, base, "job:1").name for _ in range(3)]
    assert names == [f"{LLM}:x", f"{LLM}:x-2", f"{LLM}:x-3"]


def test_a_base_that_was_removed_leaves_nothing_behind(demo: Registry, tmp_path: Path) -> None:
    base = demo.get(LLM)
    demo.remove(LLM)
    with pytest.raises(ModelNotFound, match="base"):
        publish_adapter(demo, f"{LLM}:x", write_adapter(tmp_path / "a"), base, "job:1")
    assert [record.name for record in demo.models()] == [EMBEDDER]
    assert len(list((demo.root / "models").iterdir())) == 1
    assert not [path for path in (demo.root / "incoming").iterdir() if path.is_dir()]


def test_a_damaged_adapter_is_not_published(demo: Registry, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}), "utf-8")
    with pytest.raises(InvalidModel):
        publish_adapter(demo, f"{LLM}:x", folder, demo.get(LLM), "job:1")
    assert demo.find(f"{LLM}:x") is None
    assert len(list((demo.root / "models").iterdir())) == 2


def test_a_checkpoint_is_a_model_by_its_name(demo: Registry, tmp_path: Path) -> None:
    store = JobStore(demo)
    base = demo.get(LLM)
    job, _ = store.add(
        NewJob(
            owner="ada",
            model_id=base.id,
            model_name=LLM,
            dataset="rows.jsonl",
            dataset_sha256="",
            rows=1,
            recipe=Recipe(),
            resulting_name=f"{LLM}:x",
        )
    )
    folder = write_adapter(JobFolder(demo.root, job.id).checkpoint(120))
    write_served(folder, folder / "served.safetensors")
    name = f"{LLM}:job-{job.id}@step-120"
    found = demo.get(name)
    assert (found.name, found.parent, found.path) == (name, LLM, folder)
    assert Path(found.served_adapter).is_file()
    assert name not in [record.name for record in demo.models()]
    for wrong in (
        f"{LLM}:job-{job.id}@step-121",
        f"{LLM}:job-{job.id + 1}@step-120",
        f"{EMBEDDER}:job-{job.id}@step-120",
        f"{LLM}:job-{job.id}@step-../../120",
    ):
        with pytest.raises(ModelNotFound):
            demo.get(wrong)


@pytest.mark.slow
def test_what_a_job_made_becomes_a_model_of_its_own(
    trainable_data_dir: Path, tmp_path: Path
) -> None:
    """Merged into its base, converted, and checked as every import is."""
    registry = Registry(data_dir=str(shutil.copytree(trainable_data_dir, tmp_path / "data")))
    base = registry.base_folder(registry.get(LLM).id) / "hugging-face"
    elsewhere = Path("/another/place").joinpath(*base.parts[-3:])  # before the directory was moved
    folder = JobFolder(registry.root, 3)
    write_adapter(folder.adapter, base_model_name_or_path=str(elsewhere))
    told: list[PullProgress] = []
    made = registry.pull("job:3", f"{LLM}:whole", precision="int4", progress=told.append)
    assert (made.parent, made.format, made.precision) == (None, ModelFormat.OPENVINO, "int4")
    assert registry.get(f"{LLM}:whole") == made
    assert {"merge", "convert", "check"} <= {progress.stage for progress in told}


def test_a_job_that_made_nothing_is_not_exported(demo: Registry) -> None:
    with pytest.raises(InvalidRequest, match="nothing to export"):
        demo.pull("job:4", "x", precision="int8")
    with pytest.raises(InvalidRequest, match="job:7"):
        demo.pull("job:seven", "x")
