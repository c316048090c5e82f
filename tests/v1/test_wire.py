"""Chunks of answers."""

from __future__ import annotations

import json
from typing import Any

from npu_jupyter.engine.messages import Delta, TokenLogprob
from npu_jupyter.v1.chat import ChatWire
from npu_jupyter.v1.completions import CompletionWire


def chunks(frames: bytes) -> list[Any]:
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames.split(b"\n\n") if frame]


def chat_wire(choices: int = 1) -> ChatWire:
    return ChatWire('a "model"', choices, logprobs=False, include_usage=False)


def test_what_a_slow_reader_missed_comes_as_one_chunk_for_each_choice() -> None:
    gained = [
        Delta(id=1, index=0, text="Hel", tokens=1),
        Delta(id=1, index=1, text="Bon", tokens=1),
        Delta(id=1, index=0, text="lo", tokens=1, finish_reason="stop"),
    ]
    told = [chunk["choices"][0] for chunk in chunks(chat_wire(2).events(gained))]
    assert [(c["index"], c["delta"].get("content"), c["finish_reason"]) for c in told] == [
        (0, "Hello", None),
        (0, None, "stop"),
        (1, "Bon", None),
    ]


def test_held_back_text_makes_no_chunk() -> None:
    assert chat_wire().events([Delta(id=1, index=0, tokens=1)]) == b""


def test_any_text_is_one_line_of_json() -> None:
    text = 'line\nbreak "quoted" \u2028 \x00 😀 data: [DONE]\r\n\r\n'
    frames = chat_wire().events([Delta(id=1, index=0, text=text, tokens=1)])
    assert frames.count(b"\n") == 2
    assert b"\r" not in frames
    [chunk] = chunks(frames)
    assert chunk["choices"][0]["delta"]["content"] == text
    assert chunk["model"] == 'a "model"'


def test_offsets_of_log_probabilities_go_on_from_chunk_to_chunk() -> None:
    wire = CompletionWire("m", 1, logprobs=True, include_usage=False)
    offsets = []
    for token in ("Hé", "llo", "!"):
        logprob = TokenLogprob(7, token, list(token.encode()), -1.0)
        frames = wire.events([Delta(id=1, index=0, text=token, tokens=1, logprobs=[logprob])])
        offsets += chunks(frames)[0]["choices"][0]["logprobs"]["text_offset"]
    assert offsets == [0, 2, 5]


def test_log_probabilities_of_held_back_text_are_not_lost() -> None:
    logprob = TokenLogprob(7, "<", [60], -1.0)
    frames = chat_wire().events([Delta(id=1, index=0, tokens=1, logprobs=[logprob])])
    choice = chunks(frames)[0]["choices"][0]
    assert choice["delta"] == {"content": ""}
    assert choice["logprobs"]["content"][0]["token"] == "<"
