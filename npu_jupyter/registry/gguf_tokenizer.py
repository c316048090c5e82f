"""Build a model's tokenizer from the metadata of its GGUF file.

The reference that an import is checked against, and the tokenizer of a converted GGUF.
How text is split is fixed by the name in ``tokenizer.ggml.pre``; the patterns are those of
llama.cpp, which defines the names (src/llama-vocab.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from npu_jupyter.errors import InvalidModel
from npu_jupyter.registry.gguf_file import GgufFile

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True, slots=True)
class _Split:
    """How text is cut before merging."""

    pattern: str | None = None
    """None is GPT-2's, which the byte level brings."""
    single_digits: bool = False
    ignore_merges: bool = False
    """Whether a piece that is in the vocabulary is taken whole."""


_SPLITS = {
    "gpt-2": _Split(),
    "smollm": _Split(single_digits=True),
    "llama-bpe": _Split(_LLAMA3, ignore_merges=True),
    "qwen2": _Split(_QWEN2),
}


class _TokenType(IntEnum):
    """``tokenizer.ggml.token_type``, as far as it matters here."""

    CONTROL = 3
    USER_DEFINED = 4


def build_tokenizer(file: GgufFile) -> Tokenizer:
    """Build the tokenizer; raise `InvalidModel` for a kind that is not known here."""
    model = file.get("tokenizer.ggml.model")
    pre = file.get("tokenizer.ggml.pre", "default")
    if model is None:
        raise InvalidModel(f"{file.path.name} carries no tokenizer. Use a complete GGUF file.")
    if model != "gpt2" or pre not in _SPLITS:
        raise InvalidModel(
            f"{file.path.name} has a tokenizer of kind {model}/{pre}, which cannot be checked "
            f"here: gpt2/{', gpt2/'.join(_SPLITS)} can. Pull the original model in its Hugging "
            "Face form instead."
        )
    split = _SPLITS[pre]
    tokens: list[str] = file.get("tokenizer.ggml.tokens", [])
    merges = [tuple(merge.split(" ", 1)) for merge in file.get("tokenizer.ggml.merges", [])]
    try:
        bpe = models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=merges,
            ignore_merges=split.ignore_merges,
        )
    except Exception as error:  # the library raises nothing narrower
        raise InvalidModel(
            f"{file.path.name} carries a damaged tokenizer: {error}. Fetch it again."
        ) from error
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = _pre_tokenizer(split)
    tokenizer.decoder = decoders.ByteLevel()
    _add_tokens(tokenizer, tokens, file.get("tokenizer.ggml.token_type", []))
    if file.get("tokenizer.ggml.add_bos_token", False):
        bos = file.get("tokenizer.ggml.bos_token_id")
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A", special_tokens=[(tokens[bos], bos)]
        )
    return tokenizer


def _pre_tokenizer(split: _Split) -> pre_tokenizers.PreTokenizer:
    # These very steps, as the original tokenizers have them: OpenVINO knows the pairs by sight,
    # and computes others of the same meaning differently.
    steps = []
    if split.single_digits:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    if split.pattern is not None:
        steps.append(pre_tokenizers.Split(Regex(split.pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split.pattern is None))
    return pre_tokenizers.Sequence(steps)


def save_tokenizer(file: GgufFile, folder: Path) -> None:
    """Write the tokenizer where transformers and OpenVINO read it, chat template included."""
    import json

    build_tokenizer(file).save(str(folder / "tokenizer.json"))
    tokens: list[str] = file.get("tokenizer.ggml.tokens", [])
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": bool(file.get("tokenizer.ggml.add_bos_token", False)),
        "model_max_length": file.facts().context_length,
    }
    for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        index = file.get(f"tokenizer.ggml.{theirs}_token_id")
        if index is not None:
            config[f"{ours}_token"] = tokens[index]
    template = file.get("tokenizer.chat_template")
    if template:
        config["chat_template"] = template
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2), encoding="utf-8")


def _add_tokens(tokenizer: Tokenizer, tokens: list[str], types: list[int]) -> None:
    for index, kind in enumerate(types):
        if kind in {_TokenType.CONTROL, _TokenType.USER_DEFINED}:
            special = kind == _TokenType.CONTROL
            token = AddedToken(tokens[index], special=special, normalized=False)
            (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
