"""The child that turns a Hugging Face folder or a GGUF file into OpenVINO IR.

Started by `npu_jupyter.registry.convert`; the only importer of torch and optimum outside the
trainer.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

from npu_jupyter.errors import InvalidModel, MissingExtra, NpuError
from npu_jupyter.registry.child import Parent
from npu_jupyter.registry.disk import disk_errors_told
from npu_jupyter.registry.folder import EMBEDDING_FILES, MODEL_XML
from npu_jupyter.registry.gguf_file import GgufFile
from npu_jupyter.registry.gguf_tokenizer import save_tokenizer
from npu_jupyter.registry.records import ModelType

_TASKS = {
    ModelType.LLM: "text-generation-with-past",
    ModelType.EMBEDDING: "feature-extraction",
}
_GROUP_SIZES = (128, 64, 32)
_PER_CHANNEL = -1
_INT8_MAX = 127


def convert(parent: Parent) -> dict[str, Any]:
    """Convert what the request names; return the group size, if there is one."""
    request = parent.request
    source, work, out = (Path(request[key]) for key in ("source", "work", "out"))
    _import_libraries(parent)
    with disk_errors_told(work, "The conversion"):
        if source.is_file():
            parent.report("convert", message="reading the GGUF file")
            source = _unpack_gguf(source, work / "hugging-face", rounded=request["rounded"])
        parent.report("convert", message="exporting to OpenVINO")
        _export(source, work / "ir", ModelType(request["type"]), request["trust_remote_code"])
        parent.report("convert", message=f"weights to {request['precision']}")
        group_size = _compress(work / "ir", request["precision"])
        _keep_embedding_files(source, work / "ir")
        (work / "ir").rename(out)
    return {"group_size": group_size}


def _import_libraries(parent: Parent) -> None:
    # What is needed lies here: a conversion must neither wait for the network nor tell it.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    parent.report("convert", message="loading torch and optimum-intel")
    try:
        import nncf  # noqa: F401
        import optimum.exporters.openvino  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra("Converting a model", "convert") from error
    except Exception as error:  # torchvision raises RuntimeError when it does not fit torch
        raise NpuError(
            f"The packages that convert models do not work together: {error}. With a CPU-only "
            "torch, remove torchvision: pip uninstall torchvision"
        ) from error


def _unpack_gguf(path: Path, folder: Path, *, rounded: bool) -> Path:
    """Write the weights in Hugging Face form, with a tokenizer made of the file's metadata.

    The tokenizer that transformers would make of a GGUF file is a wrong one. `rounded` weights
    are those that int8 can hold, so that who trains them trains what is served.
    """
    if importlib.util.find_spec("accelerate") is None:  # with which transformers reads GGUF
        raise MissingExtra("Converting a GGUF file", "convert")
    from transformers import AutoModelForCausalLM

    file = GgufFile(path)
    folder.mkdir()
    save_tokenizer(file, folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype="float16"
        )
    except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise InvalidModel(
            f"{path.name} ({file.architecture}) cannot be converted: {error}"
        ) from error
    if rounded:
        _round_to_int8(model)
    for config in (model.config, model.generation_config):
        for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
            setattr(config, f"{ours}_token_id", file.get(f"tokenizer.ggml.{theirs}_token_id"))
    model.save_pretrained(folder)
    return folder


def _round_to_int8(model: Any) -> None:
    """Move each weight to the nearest that symmetric int8 with one scale a row can hold."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            weights = module.weight.data.float()
            scale = weights.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / _INT8_MAX
            module.weight.data = ((weights / scale).round() * scale).to(module.weight.dtype)


def _export(source: Path, out: Path, kind: ModelType, trust_remote_code: bool) -> None:
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    try:
        main_export(
            str(source),
            output=str(out),
            task=_TASKS[kind],
            library_name="transformers",
            trust_remote_code=trust_remote_code,
            convert_tokenizer=True,
            ov_config=OVConfig(dtype="fp16"),
        )
    except OSError as error:
        if error.errno is not None:
            raise
        # transformers' way to say that a folder lacks something
        raise InvalidModel(f"{source.name} cannot be converted: {error}") from error
    except (ValueError, KeyError, RuntimeError, NotImplementedError, ImportError) as error:
        raise InvalidModel(f"{source.name} cannot be converted: {error}") from error


def _compress(folder: Path, precision: str) -> int | None:
    """Compress the weights in place; symmetric, which is what an NPU runs."""
    if precision == "fp16":
        return None
    import nncf
    import openvino

    xml = folder / MODEL_XML
    model = openvino.Core().read_model(xml)
    group_size = None
    if precision == "int8":
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    else:
        group_size = choose_group_size(model)
        model = nncf.compress_weights(
            model,
            mode=nncf.CompressWeightsMode.INT4_SYM,
            group_size=group_size,
            ratio=1.0,
            backup_mode=nncf.BackupMode.INT8_SYM,
        )
    # Beside, not over: the old weights are still mapped.
    compressed = folder / "compressed.xml"
    openvino.save_model(model, compressed)
    del model
    compressed.with_suffix(".bin").replace(xml.with_suffix(".bin"))
    compressed.replace(xml)
    return group_size


def choose_group_size(model: Any) -> int:
    """Take the largest group that divides every layer's input width, else one per channel."""
    widths = set(_input_widths(model))
    return next(
        (size for size in _GROUP_SIZES if all(width % size == 0 for width in widths)),
        _PER_CHANNEL,
    )


def _input_widths(model: Any) -> list[int]:
    widths = []
    for op in model.get_ops():
        if op.get_type_name() != "MatMul":
            continue
        weights = op.input_value(1).get_node()
        while weights.get_type_name() in {"Convert", "Reshape"}:
            weights = weights.input_value(0).get_node()
        if weights.get_type_name() == "Constant" and len(weights.shape) > 1:
            axis = -1 if op.get_attributes()["transpose_b"] else -2
            widths.append(int(weights.shape[axis]))
    return widths


def _keep_embedding_files(source: Path, folder: Path) -> None:
    for name in EMBEDDING_FILES:
        if (source / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, folder / name)


def main() -> None:
    """Answer one request."""
    Parent().answer(convert)


if __name__ == "__main__":
    main()
