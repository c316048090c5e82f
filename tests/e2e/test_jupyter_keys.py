"""JupyterLab under its own login: the token is an API key, and others open less."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
from serving import LLM, Server

from npu_jupyter.keys import CACHE_S

pytestmark = pytest.mark.slow

QUESTION = {"model": LLM, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


def keys(server: Server, *options: str) -> str:
    """Run ``jupyter npu keys``."""
    done = subprocess.run(
        [sys.executable, "-m", "jupyter", "npu", "keys", *options],
        env={**os.environ, "NPU_JUPYTER_DATA": str(server.data_dir)},
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    return done.stdout


@pytest.fixture(scope="module")
def chat_key(lab: Server) -> str:
    """A key as its owner makes it."""
    return keys(lab, "--create", "for chats").splitlines()[0]


def ask(server: Server, key: str | None, path: str, body: Any = None) -> httpx.Response:
    """GET, or POST a body, with a key or without."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    url = f"{server.url}{path}"
    if body is None:
        return httpx.get(url, headers=headers, timeout=60)
    return httpx.post(url, headers=headers, json=body, timeout=60)


def test_token_of_the_server_is_a_key(lab: Server) -> None:
    answer = lab.client().chat.completions.create(**QUESTION)  # type: ignore[call-overload]
    assert answer.choices


@pytest.mark.parametrize("key", [None, "wrong", "sk-npu-wrong"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models", None),
        ("/v1/chat/completions", QUESTION),
        ("/v1/models/load", {"name": LLM}),
        ("/api/npu/models", None),
    ],
)
def test_nobody_gets_in_without_a_key(
    lab: Server, key: str | None, path: str, body: dict[str, Any] | None
) -> None:
    reply = ask(lab, key, path, body)
    assert reply.status_code == 401
    error = reply.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == "invalid_api_key"
    assert "jupyter npu keys" in error["message"]


def test_chat_key_chats_and_no_more(lab: Server, chat_key: str) -> None:
    assert ask(lab, chat_key, "/v1/models").status_code == 200
    assert ask(lab, chat_key, "/v1/chat/completions", QUESTION).status_code == 200
    for call in ("load", "unload"):
        reply = ask(lab, chat_key, f"/v1/models/{call}", {"name": LLM})
        assert reply.status_code == 403
        assert reply.json()["error"]["code"] == "permission_denied"
        assert "load" in reply.json()["error"]["message"]


@pytest.mark.parametrize("what", ["contents", "kernels", "sessions", "terminals", "me"])
def test_key_opens_nothing_of_jupyter(lab: Server, chat_key: str, what: str) -> None:
    assert ask(lab, chat_key, f"/api/{what}").status_code in {401, 403}
    assert ask(lab, lab.token, f"/api/{what}").is_success, "the test must ask for what is there"


def test_load_key_loads(lab: Server) -> None:
    key = keys(lab, "--create", "for loads", "--scopes", "load").splitlines()[0]
    assert ask(lab, key, "/v1/models/load", {"name": LLM}).status_code == 200
    assert ask(lab, key, "/v1/chat/completions", QUESTION).status_code == 403


def test_revoked_key_is_soon_forgotten(lab: Server) -> None:
    key = keys(lab, "--create", "to be revoked").splitlines()[0]
    assert ask(lab, key, "/v1/models").status_code == 200
    (line,) = [line for line in keys(lab).splitlines() if "to be revoked" in line]
    assert key not in line
    keys(lab, "--revoke", line.split()[0])
    deadline = time.monotonic() + CACHE_S
    while ask(lab, key, "/v1/models").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ask(lab, key, "/v1/models").status_code == 401


def test_metrics_count_requests_and_name_no_caller(lab: Server) -> None:
    ask(lab, lab.token, "/v1/chat/completions", QUESTION)
    said = ask(lab, lab.token, "/metrics").text
    ours = [line for line in said.splitlines() if line.startswith("npu_jupyter_")]
    assert any(
        line.startswith('npu_jupyter_requests_total{route="/v1/chat/completions",status="200"}')
        for line in ours
    )
    assert any(line.startswith('npu_jupyter_tokens_total{kind="completion"}') for line in ours)
    assert not any(LLM in line for line in ours)
