"""What ``/metrics`` counts."""

from __future__ import annotations

import re
from typing import Any

from serving import LLM, Server

HELLO: Any = {"model": LLM, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}


def samples(server: Server) -> dict[str, float]:
    """Give the values of our metrics by name and labels."""
    with server.http() as http:
        lines = http.get("/metrics").text.splitlines()
    ours = [line.rsplit(" ", 1) for line in lines if line.startswith("npu_jupyter_")]
    return {name: float(value) for name, value in ours}


def test_requests_and_tokens_are_counted(server: Server) -> None:
    before = samples(server)
    usage = server.client().chat.completions.create(**HELLO).usage
    assert usage is not None
    with server.http() as http:
        assert http.post("/v1/chat/completions", json={"model": LLM}).status_code == 400
    after = samples(server)

    def gained(name: str) -> float:
        return after[name] - before.get(name, 0)

    route = 'route="/v1/chat/completions"'
    assert gained(f'npu_jupyter_requests_total{{{route},status="200"}}') == 1
    assert gained(f'npu_jupyter_requests_total{{{route},status="400"}}') == 1
    assert gained(f"npu_jupyter_request_seconds_count{{{route}}}") == 2
    assert gained('npu_jupyter_tokens_total{kind="prompt"}') == usage.prompt_tokens
    assert gained('npu_jupyter_tokens_total{kind="completion"}') == usage.completion_tokens


def test_no_label_holds_what_a_caller_chose(server: Server) -> None:
    with server.http() as http:
        http.get("/v1/models/a-name-that-a-caller-chose")
    names = " ".join(samples(server))
    assert 'route="/v1/models/{id}"' in names
    assert "a-name-that-a-caller-chose" not in names
    assert set(re.findall(r"(\w+)=", names)) <= {"route", "status", "kind", "le"}
