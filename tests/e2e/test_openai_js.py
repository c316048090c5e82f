"""OpenAI's client for JavaScript, under Node."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from serving import EMBEDDER, LLM, Server

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "js" / "client.js"


@pytest.fixture(scope="module")
def said(node: str, bare_server: Server) -> dict[str, Any]:
    """What the script got from each call."""
    done = subprocess.run(
        [node, str(SCRIPT), LLM, EMBEDDER],
        env={
            **os.environ,
            "OPENAI_BASE_URL": f"{bare_server.url}/v1",
            "OPENAI_API_KEY": "none is asked for",
        },
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    return dict(json.loads(done.stdout))


def test_chat(said: dict[str, Any]) -> None:
    assert "Paris" in said["chat"]


def test_stream_in_pieces(said: dict[str, Any]) -> None:
    assert len(said["pieces"]) > 3
    assert "".join(said["pieces"]) == said["chat"]


def test_structured_answer(said: dict[str, Any]) -> None:
    assert said["structured"]["capital"] in {"Paris", "London"}


def test_embeddings_decoded_from_base64(said: dict[str, Any]) -> None:
    assert [len(vector) for vector in said["vectors"]] == [384, 384]
    squares = sum(value * value for value in said["vectors"][0])
    assert squares == pytest.approx(1, abs=1e-3)


def test_error_class(said: dict[str, Any]) -> None:
    assert said["error"] == {"name": "NotFoundError", "status": 404, "code": "model_not_found"}
