"""Streams that wait, and streams that break."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest
from serving import EMBEDDER, LLM, Server

LONG: Any = {
    "model": LLM,
    "messages": [{"role": "user", "content": "Count to a million."}],
    "stream": True,
    "max_tokens": 4000,
    "ignore_eos": True,
}


def test_a_place_in_line_is_told_in_comments(server: Server) -> None:
    with server.http() as http, ExitStack() as streams:
        lines = []  # a closed iterator would close its stream
        for _ in range(4):  # 64 answers are as many as one model writes at once
            chat = LONG | {"n": 16}
            running = http.stream("POST", "/v1/chat/completions", json=chat)
            lines.append(streams.enter_context(running).iter_lines())
            next(lines[-1])
        waiting = http.stream("POST", "/v1/chat/completions", json=LONG)
        reply = streams.enter_context(waiting)
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "text/event-stream"
        assert next(reply.iter_lines()) == ": queued 1/1"


def test_a_failure_in_mid_stream_is_an_event(server: Server) -> None:
    with server.http() as http, http.stream("POST", "/v1/chat/completions", json=LONG) as reply:
        frames = reply.iter_lines()
        while '"content":""' not in next(frames):
            pass
        unload = {"name": LLM, "force": True}
        with server.http() as other:
            other.post("/v1/models/unload", json=unload).raise_for_status()
        rest = [line for line in frames if line.startswith("data: ")]
    last = json.loads(rest[-1].removeprefix("data: "))
    assert set(last) == {"error"}
    assert last["error"]["code"] == "model_unloaded"
    assert set(last["error"]) == {"message", "type", "param", "code"}


def test_events_of_the_engine_are_streamed(server: Server) -> None:
    with (
        server.http() as http,
        server.http() as other,
        http.stream("GET", "/api/npu/events") as reply,
    ):
        lines = reply.iter_lines()
        assert next(lines).startswith(":")
        other.post("/v1/models/load", json={"name": EMBEDDER})
        other.post("/v1/models/unload", json={"name": EMBEDDER})
        seen = []
        while not seen or seen[-1]["event"] != "model.unloaded":
            line = next(lines)
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
    assert [event["id"] for event in seen] == sorted(event["id"] for event in seen)
    assert {"model.loading", "model.loaded", "model.unloaded"} >= {e["event"] for e in seen}
    assert {event["model"] for event in seen} == {EMBEDDER}


@pytest.mark.slow
def test_a_silent_stream_is_kept_alive(server: Server) -> None:
    with server.http() as http, http.stream("GET", "/api/npu/events") as reply:
        comments = [line for line, _ in zip(reply.iter_lines(), range(3), strict=False) if line]
    assert comments == [": waiting", ": waiting"]
