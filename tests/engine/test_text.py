"""Text out of tokens as they come: whole characters, and nothing past a stop string."""

from __future__ import annotations

from pathlib import Path

import openvino_genai as genai
import pytest
from serving import LLM

from npu_jupyter.engine.worker.text import StopFilter, TextStream, advance_all
from npu_jupyter.engine.worker.tokenizer import ModelTokenizer
from npu_jupyter.registry.store import Registry

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "  two  spaces,\ttabs\nand\n\n\nlines  ",
    "def f(x):\n    return x**2  # squared\n",
    "déjà vu, naïve, Zürich, Łódź, ½ + ¼",
    "你好,世界。日本語のテキスト。한국어",
    "🙂🇩🇪👩‍👩‍👧‍👦🏳️‍🌈",
    "مرحبا بالعالم שלום עולם",
    "a🙂b世c",
]


@pytest.fixture(scope="module")
def tokenizer(data_dir: Path) -> ModelTokenizer:
    registry = Registry(data_dir=str(data_dir))
    path = registry.get(LLM).path
    registry.close()
    return ModelTokenizer(genai.Tokenizer(str(path)), 8191)


def streamed(
    tokenizer: ModelTokenizer, ids: list[int], stop: tuple[str, ...] = (), at_once: int = 1
) -> list[str]:
    """Give what a caller sees of `ids`, a piece for each step that made `at_once` of them."""
    stream = TextStream(stop)
    pieces = []
    for start in range(0, len(ids), at_once):
        stream.add(ids[start : start + at_once])
        last = start + at_once >= len(ids)
        pieces += advance_all([(stream, last)], tokenizer.decode)
        if stream.stopped:
            break
    return pieces


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_make_the_text(tokenizer: ModelTokenizer, text: str, at_once: int) -> None:
    pieces = streamed(tokenizer, tokenizer.encode(text), at_once=at_once)
    assert "".join(pieces) == text


@pytest.mark.parametrize("text", TEXTS)
def test_no_piece_has_half_a_character(tokenizer: ModelTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert not any("\ufffd" in piece for piece in streamed(tokenizer, ids))


def test_a_character_over_several_tokens_comes_whole(tokenizer: ModelTokenizer) -> None:
    ids = tokenizer.encode("🦔")
    assert len(ids) > 1, "the test needs a character that is no single token"
    pieces = streamed(tokenizer, [*ids, *tokenizer.encode(" end")])
    assert pieces[: len(ids)] == [""] * (len(ids) - 1) + ["🦔"]


def test_bytes_that_never_become_a_character_are_not_waited_for(
    tokenizer: ModelTokenizer,
) -> None:
    half = tokenizer.encode("🦔")[:1]
    text = "".join(
        streamed(tokenizer, [*half, *tokenizer.encode(" and so it goes on for a while")])
    )
    assert text.endswith(" and so it goes on for a while")


def test_several_streams_advance_by_one_call(tokenizer: ModelTokenizer) -> None:
    calls = 0

    def counting(rows: list[list[int]]) -> list[str]:
        nonlocal calls
        calls += 1
        return tokenizer.decode(rows)

    streams = [TextStream(()) for _ in TEXTS]
    rows = [tokenizer.encode(text) for text in TEXTS]
    texts = [""] * len(TEXTS)
    longest = max(map(len, rows))
    for step in range(longest):
        for stream, row in zip(streams, rows, strict=True):
            stream.add(row[step : step + 1])
        moved = advance_all([(stream, step == longest - 1) for stream in streams], counting)
        texts = [text + piece for text, piece in zip(texts, moved, strict=True)]
    assert texts == TEXTS
    assert calls == longest


@pytest.mark.parametrize(
    ("text", "stop", "seen"),
    [
        ("one two three four", ("three",), "one two "),
        ("one two three four", (" thr",), "one two"),
        ("one two three four", ("e tw",), "on"),
        ("abcabcabd!", ("abcabd",), "abc"),
        ("line one\n\nline two", ("\n\n",), "line one"),
        ("nothing to stop at", ("Nothing",), "nothing to stop at"),
        ("one two three four", ("four", "two"), "one "),
        ("stop at the 🦔 here", ("🦔",), "stop at the "),
        ("ends like the sto", ("stop",), "ends like the sto"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 2, 50])
def test_nothing_past_a_stop_string_is_seen(
    tokenizer: ModelTokenizer, text: str, stop: tuple[str, ...], seen: str, at_once: int
) -> None:
    pieces = streamed(tokenizer, tokenizer.encode(text), stop, at_once)
    assert "".join(pieces) == seen


def test_a_stop_string_over_token_borders(tokenizer: ModelTokenizer) -> None:
    ids = tokenizer.encode("Hello, wonderful world")
    borders = {"".join(streamed(tokenizer, ids[:k])) for k in range(len(ids))}
    stop = "o, wonder"
    assert "Hell" not in borders, "the test needs a stop string that begins inside a token"
    assert "".join(streamed(tokenizer, ids, (stop,))) == "Hell"


def test_text_is_held_back_only_while_it_may_be_the_start_of_a_stop_string() -> None:
    stop = StopFilter(["</end>"])
    assert stop.push("a < b") == "a < b"
    assert stop.push(" </e") == " "
    assert stop.push("m>") == "</em>"
    assert stop.push("</en") == ""
    assert stop.flush() == "</en"
    assert not stop.stopped


def test_the_first_of_several_stop_strings_counts() -> None:
    stop = StopFilter(["late", "early"])
    assert stop.push("so early or late") == "so "
    assert stop.stopped


def test_a_stop_string_that_repeats_its_own_start() -> None:
    stop = StopFilter(["aab"])
    assert stop.push("aa") == ""
    assert stop.push("a") == "a"
    assert stop.push("b") == ""
    assert stop.stopped
