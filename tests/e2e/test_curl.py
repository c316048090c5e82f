"""curl against the bare service, as the README shows it."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from serving import LLM, Server


def curl(url: str, *options: str) -> str:
    """Run curl; it must succeed."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("no curl on PATH")
    done = subprocess.run(
        [program, "--silent", "--show-error", "--noproxy", "*", url, *options],
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    return done.stdout


def body(**more: object) -> list[str]:
    """Give the options that post a question."""
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    asked = {"model": LLM, "messages": messages, "temperature": 0, **more}
    return ["-H", "Content-Type: application/json", "-d", json.dumps(asked)]


def test_models(bare_server: Server) -> None:
    listed = json.loads(curl(f"{bare_server.url}/v1/models"))
    assert LLM in [model["id"] for model in listed["data"]]


def test_answer(bare_server: Server) -> None:
    answer = json.loads(curl(f"{bare_server.url}/v1/chat/completions", *body()))
    assert "Paris" in answer["choices"][0]["message"]["content"]


def test_stream(bare_server: Server) -> None:
    said = curl(f"{bare_server.url}/v1/chat/completions", "-N", *body(stream=True))
    events = [line.removeprefix("data: ") for line in said.splitlines() if line.startswith("data")]
    assert events.pop() == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
    assert "Paris" in "".join(delta.get("content", "") for delta in deltas)


def test_body_without_its_type_is_refused_in_words(bare_server: Server) -> None:
    reply = curl(f"{bare_server.url}/v1/chat/completions", "-d", body()[-1], "-w", "%{http_code}")
    assert reply.endswith("415")
    assert (
        "Content-Type: application/json"
        in json.loads(reply.removesuffix("415"))["error"]["message"]
    )


def test_health(bare_server: Server) -> None:
    assert json.loads(curl(f"{bare_server.url}/health"))["status"] == "ok"
