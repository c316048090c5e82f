"""Hold the tokenizer that will serve against the one that the model was made with.

A wrong tokenizer raises no error: the model loads, and answers badly. Runs in a child process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer

from npu_jupyter.errors import InvalidModel

_PLAIN = (
    "Hello world",
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure they don't know what we'll do, but she's here and I'd say you've won.",
    'He said: "No!" (twice) - and then; nothing...',
    "Prices rose 3.14% to $1,234.56 in 2026, 0x1F, 1e-9, 007.",
    "1234567890",
    "https://example.org/a_b/c-d?e=f&g=%20#h user@example.org",
    "def f(x):\n    return [i ** 2 for i in range(x) if i % 2 == 0]\n",
    "for (int i = 0; i < n; ++i) { a[i] += b->c; } // done",
    '<div class="x">&amp;</div>',
    "SELECT * FROM t WHERE a <> 'b';",
    "camelCase snake_case SCREAMING_CASE kebab-case",
    "# Title\n\n- one\n- two\n\n```python\nprint(1)\n```\n",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
)
"""Printable ASCII: what any tokenizer must give back but for its white space."""

_HARD = (
    "",
    " ",
    "  leading and trailing  ",
    "a b  c   d    e",
    "tab\tand\nnew line\r\nand\n\n\nmany",
    "\n",
    "café naïve Ünïcode straße Łódź",
    "cafe\u0301 A\u030a",
    "你好，世界。漢字仮名交じり文",  # noqa: RUF001
    "こんにちは世界",
    "안녕하세요 세계",
    "Привет, мир!",
    "नमस्ते दुनिया",
    "مرحبا بالعالم ١٢٣",
    "שלום עולם",
    "😀 👍🏽 👨\u200d👩\u200d👧 🇩🇪",
    "½ ² Ⅷ ﬁ № ™",
    "zero\u200bwidth no\u00a0break \ufeffmark",
    "“quotes” – dash — ellipsis…",  # noqa: RUF001
    "∑ ∫ √2 ≈ 1.41 → ∞",
)
"""What trips normalisers and splitters."""

_MARKERS = (
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<s>[INST] Hi [/INST] Hello</s>",
    "<bos><start_of_turn>user\nHi<end_of_turn>\n",
    "<|endoftext|>text after an end",
    "[CLS] first [SEP] second [PAD] [MASK]",
    "<think>\n\n</think>",
)
"""Chat markers and special tokens, of this model or of another."""

# What transformers' own decoding joins when clean_up_tokenization_spaces is on.
_CLEAN_UP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


_SHOWN_IDS = 12
_MIN_VOCABULARY = 0.75
"""Of the model's rows, which are often padded; much less is another model's tokenizer."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The tokenizer that the model was made with, and what else its files say of it."""

    tokenizer: Tokenizer
    vocab_size: int | None = None
    """Rows of the model's vocabulary."""
    eos_ids: frozenset[int] = frozenset()
    """What may end an answer; empty if the files do not say."""
    vocabulary: dict[str, int] = field(default_factory=dict)
    """Ids of tokens as a vocabulary file next to tokenizer.json has them."""
    clean_up: bool = False
    """Whether decoding joins punctuation to the word before it."""
    remedy: str = "Pull it from its original repository, or convert it again."


def check_encoding(name: str, serving: Any, reference: Reference) -> int:
    """Compare ids for every string, with and without the special tokens; return how many."""
    texts = (*_PLAIN, *_HARD, *_MARKERS)
    for text in texts:
        for special in (False, True):
            expected = reference.tokenizer.encode(text, add_special_tokens=special).ids
            got = encode(serving, text, special=special)
            if got != expected:
                raise InvalidModel(
                    f"Model {name} has a wrong tokenizer: {text!r} becomes {_short(got)}, "
                    f"where the model was made with {_short(expected)}. {reference.remedy}"
                )
    return len(texts)


def check_decoding(name: str, serving: Any, reference: Reference) -> None:
    """Compare texts made of the same ids, and hold plain text against what it came from."""
    for text in (*_PLAIN, *_HARD, *_MARKERS):
        ids = reference.tokenizer.encode(text, add_special_tokens=False).ids
        if not ids:
            continue
        expected = reference.tokenizer.decode(ids, skip_special_tokens=True)
        got = serving.decode(ids, skip_special_tokens=True)
        if reference.clean_up:
            expected, got = _clean(expected), _clean(got)
        if got != expected:
            raise InvalidModel(
                f"Model {name} has a wrong tokenizer: {_short(ids)} becomes {got!r}, where the "
                f"model was made with {expected!r}. {reference.remedy}"
            )
        if text in _PLAIN and "".join(_clean(expected).split()) != "".join(_clean(text).split()):
            raise InvalidModel(
                f"Model {name} has a wrong tokenizer: {text!r} comes back as {expected!r}. Its "
                "tokenizer.json is not the one that the model was made with."
            )


def check_vocabulary(name: str, reference: Reference) -> None:
    """Compare the tokenizer's vocabulary with what the model's other files say of it."""
    for token, index in reference.vocabulary.items():
        got = reference.tokenizer.token_to_id(token)
        if got != index:
            raise InvalidModel(
                f"Model {name} has a wrong tokenizer: token {token!r} is {got} in tokenizer.json "
                f"and {index} in the vocabulary beside it. Use the files of this very model."
            )
    _check_size(name, reference)


def _check_size(name: str, reference: Reference) -> None:
    size = reference.tokenizer.get_vocab_size(with_added_tokens=True)
    rows = reference.vocab_size
    if rows is not None and not _MIN_VOCABULARY * rows <= size <= rows:
        raise InvalidModel(
            f"Model {name} has a wrong tokenizer: it knows {size} tokens and the model {rows}. "
            "Use the tokenizer files of this very model."
        )


def check_end(name: str, serving: Any, reference: Reference) -> None:
    """See that the token that ends an answer is one that the model ends its answers with."""
    eos = serving.get_eos_token_id()
    if reference.eos_ids and eos not in reference.eos_ids:
        raise InvalidModel(
            f"Model {name} has a wrong tokenizer: it ends a text with token {eos} "
            f"({serving.get_eos_token()!r}), and the model with {sorted(reference.eos_ids)}. "
            "Mend eos_token in tokenizer_config.json, or use this very model's tokenizer files."
        )


def encode(serving: Any, text: str, *, special: bool) -> list[int]:
    """Encode with openvino_genai's tokenizer, which gives an empty tensor for an empty text."""
    ids = serving.encode(text, add_special_tokens=special).input_ids.data
    return [int(index) for index in ids.reshape(-1)]


def _clean(text: str) -> str:
    for spaced, joined in _CLEAN_UP:
        text = text.replace(spaced, joined)
    return text


def _short(ids: list[int]) -> str:
    head = ", ".join(map(str, ids[:_SHOWN_IDS]))
    return f"[{head}]" if len(ids) <= _SHOWN_IDS else f"[{head}, … {len(ids)} in all]"
