"""The child that checks an import: files, tokenizer, and one try on the CPU.

Started by `npu_jupyter.registry.check`; the only place outside the workers that imports
openvino_genai.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from tokenizers import Tokenizer

from npu_jupyter.errors import InsufficientMemory, InvalidModel
from npu_jupyter.registry.child import Parent
from npu_jupyter.registry.disk import size_of
from npu_jupyter.registry.folder import MODEL_XML, TOKENIZER_XML, Facts, read_facts, read_json
from npu_jupyter.registry.gguf_file import GgufFile
from npu_jupyter.registry.gguf_tokenizer import build_tokenizer
from npu_jupyter.registry.ir_file import read_precision
from npu_jupyter.registry.records import ModelType
from npu_jupyter.registry.tokenizer_check import (
    Reference,
    check_decoding,
    check_encoding,
    check_end,
    check_vocabulary,
    encode,
)

_DIRECT_ARCHITECTURES = {"llama", "qwen2", "qwen3"}
"""Those whose GGUF files openvino_genai reads; every other must become IR."""
_CONVERT = (
    "OpenVINO does not read the tokenizer of this GGUF file as it is meant. Pull it again with "
    "--precision int4 (or int8, fp16): that converts the tokenizer too."
)
_TRIAL_MEMORY_FACTOR = 1.5
_ENGLISH = (
    "The sun rises in the east and sets in the west. Water boils at one hundred degrees, and "
    "ice is frozen water. Most people sleep at night and work during the day."
)
_PARAPHRASES = (
    ("A man is eating his lunch.", "Somebody enjoys a meal."),
    ("The physician treats sick people.", "Doctors help patients get well."),
    ("It rained heavily all night.", "There was a big storm until morning."),
    ("She bought an expensive car.", "Her new vehicle cost a lot of money."),
)
"""Two sentences each of one meaning that share no telling word."""


def check(parent: Parent) -> dict[str, Any]:
    """Check the model that the request names and return what the registry records of it."""
    request = parent.request
    name, path = request["name"], Path(request["path"])
    parent.report("check", message="files")
    made_with = Path(request["reference"])
    # Read once: taking a large vocabulary apart takes seconds.
    file = GgufFile(made_with) if made_with.is_file() else None
    if file is not None and made_with == path:
        if file.architecture not in _DIRECT_ARCHITECTURES:
            raise InvalidModel(
                f"{path.name} is a {file.architecture} model. GGUF files of "
                f"{', '.join(sorted(_DIRECT_ARCHITECTURES))} are served as they are; others must "
                "be converted: pull it again with --precision int4 (or int8, fp16)."
            )
        facts, precision = file.facts(), file.quantisation()
    else:
        facts, precision = _check_folder(path), read_precision(path / MODEL_XML)
    if file is not None:
        reference = _gguf_reference(file, converted=made_with != path)
    else:
        reference = _folder_reference(made_with, path, facts)
    parent.report("check", message="tokenizer")
    serving = _serving_tokenizer(name, path)
    texts = check_encoding(name, serving, reference)
    check_vocabulary(name, reference)
    if facts.type is ModelType.LLM:
        check_decoding(name, serving, reference)
        check_end(name, serving, reference)
    parent.report("check", message=f"tokenizer agrees on {texts} strings; first answer")
    _check_memory(name, path)
    try:
        if facts.type is ModelType.LLM:
            _try_language_model(name, path, serving, reference)
        else:
            _try_embedder(name, path)
    except RuntimeError as error:
        raise InvalidModel(
            f"{name} cannot be run: {_reason(error)}. If the files are complete, convert the "
            "model again from its original form."
        ) from error
    return {
        "type": facts.type,
        "architecture": facts.architecture,
        "precision": precision,
        "context_length": facts.context_length,
        "chat_template": bool(serving.chat_template),
    }


def _check_folder(folder: Path) -> Facts:
    if not (folder / TOKENIZER_XML).is_file():
        raise InvalidModel(
            f"{folder.name} has no {TOKENIZER_XML}. Make it with: "
            f"convert_tokenizer ORIGINAL_MODEL --with-detokenizer -o {folder.name}"
        )
    read_precision(folder / TOKENIZER_XML)
    return read_facts(folder)


def _gguf_reference(file: GgufFile, *, converted: bool) -> Reference:
    eos = file.get("tokenizer.ggml.eos_token_id")
    ends = frozenset() if eos is None else frozenset({int(eos)})
    reference = Reference(build_tokenizer(file), file.facts().vocab_size, ends)
    return reference if converted else replace(reference, remedy=_CONVERT)


def _folder_reference(source: Path, model: Path, facts: Facts) -> Reference:
    if not (source / "tokenizer.json").is_file():
        raise InvalidModel(
            f"{source.name} has no tokenizer.json to check the tokenizer against. Copy it there "
            "from the original model."
        )
    try:
        tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    except Exception as error:  # the library raises nothing narrower
        raise InvalidModel(f"tokenizer.json is damaged: {error}. Fetch it again.") from error
    # Left by whoever trained the model; how long a text may be is the worker's affair.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    config_file = source / "tokenizer_config.json"
    config = read_json(config_file) if config_file.is_file() else {}
    return Reference(
        tokenizer,
        facts.vocab_size,
        _eos_ids(model),
        _vocabulary(source),
        config.get("clean_up_tokenization_spaces") is True,
    )


def _vocabulary(folder: Path) -> dict[str, int]:
    """Read the vocabulary file that older tokenizers keep beside tokenizer.json."""
    words, ids = folder / "vocab.txt", folder / "vocab.json"
    if words.is_file():
        text = words.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
        return {word: index for index, word in enumerate(text.split("\n"))}
    vocabulary: dict[str, int] = read_json(ids) if ids.is_file() else {}
    return vocabulary


def _eos_ids(folder: Path) -> frozenset[int]:
    ids: set[int] = set()
    for file in ("config.json", "generation_config.json"):
        if (folder / file).is_file():
            value = read_json(folder / file).get("eos_token_id")
            ids |= {value} if isinstance(value, int) else set(value or ())
    return frozenset(ids)


def _serving_tokenizer(name: str, path: Path) -> Any:
    import openvino_genai

    try:
        return openvino_genai.Tokenizer(path)
    except RuntimeError as error:
        raise InvalidModel(f"The tokenizer of {name} cannot be loaded: {_reason(error)}") from error


def _check_memory(name: str, path: Path) -> None:
    needed = int(_TRIAL_MEMORY_FACTOR * size_of(path))
    available = psutil.virtual_memory().available
    if needed > available:
        raise InsufficientMemory(
            f"{name} needs about {needed / 1e9:.1f} GB of memory to run and {available / 1e9:.1f} "
            "GB are free. Unload other models, or pull it in a lower precision."
        )


def _try_language_model(name: str, path: Path, serving: Any, reference: Reference) -> None:
    """Ask how likely plain English is: weights and tokenizer that fit beat a blind guess."""
    import numpy as np
    import openvino
    import openvino_genai as genai

    pipeline = genai.ContinuousBatchingPipeline(path, genai.SchedulerConfig(), "CPU", {})
    config = genai.GenerationConfig()
    config.max_new_tokens, config.logprobs, config.echo = 1, 1, True
    ids = encode(serving, _ENGLISH, special=True)
    tensor = openvino.Tensor(np.array([ids], dtype=np.int64))
    handle = pipeline.add_request(0, tensor, config)
    logprobs: list[float] = []
    while pipeline.has_non_finished_requests():
        pipeline.step()
        while handle.can_read():
            for output in handle.read().values():
                logprobs += output.generated_log_probs
    # The first token has nothing before it, the last is the answer.
    known = logprobs[1:-1]
    chance = -math.log(reference.tokenizer.get_vocab_size())
    mean = sum(known) / len(known) if known else math.nan
    if not mean > chance:
        raise InvalidModel(
            f"{name} finds plain English less likely than chance (log probability a token "
            f"{mean:.1f}, chance {chance:.1f}): its weights are damaged, or its tokenizer is "
            "another model's. Pull it from its original repository."
        )


def _try_embedder(name: str, folder: Path) -> None:
    """See that sentences of one meaning lie next to each other."""
    import numpy as np
    import openvino_genai as genai

    config = genai.TextEmbeddingPipeline.Config()
    pooling_file = folder / "1_Pooling" / "config.json"
    pooling = read_json(pooling_file) if pooling_file.is_file() else {}
    kinds = genai.TextEmbeddingPipeline.PoolingType
    config.pooling_type = kinds.MEAN
    if pooling.get("pooling_mode_cls_token"):
        config.pooling_type = kinds.CLS
    elif pooling.get("pooling_mode_lasttoken"):
        config.pooling_type = kinds.LAST_TOKEN
    config.normalize = True
    pipeline = genai.TextEmbeddingPipeline(folder, "CPU", config)
    sentences = [sentence for pair in _PARAPHRASES for sentence in pair]
    vectors = np.array(pipeline.embed_documents(sentences))
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    # Partners stand side by side: 0 and 1, 2 and 3, …
    found = int((likeness.argmax(axis=1) == np.arange(len(sentences)) ^ 1).sum())
    if not np.isfinite(vectors).all() or 2 * found < len(sentences):
        raise InvalidModel(
            f"{name} finds the paraphrase of {found} in {len(sentences)} plain English sentences: "
            "its weights are damaged, or its tokenizer is another model's. Pull it from its "
            "original repository."
        )


def _reason(error: RuntimeError) -> str:
    """Take what a reader can use out of OpenVINO's error, which begins with source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (useful or lines or ["no reason given"])[-1].rstrip(".")


def main() -> None:
    """Answer one request."""
    Parent().answer(check)


if __name__ == "__main__":
    main()
