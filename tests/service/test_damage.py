"""Models whose files broke after they were registered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from service.conftest import Service
from service.wire import ask, chat, client, post, workers
from serving import EMBEDDER, LLM, Server

from npu_jupyter.registry.store import Registry


@pytest.fixture
def own_data_dir(data_dir: Path, tmp_path: Path) -> Path:
    """Give a data directory to break."""
    return Path(shutil.copytree(data_dir, tmp_path / "npu"))


def files(data_dir: Path, model: str) -> Path:
    registry = Registry(data_dir=str(data_dir))
    path = registry.get(model).path
    registry.close()
    return path


def refusal(server: Server, path: str, **body: object) -> str:
    """Give the words with which a request for a broken model is refused."""
    reply = post(server, path, **body)
    assert reply.status_code == 503, reply.text
    assert reply.headers["x-should-retry"] == "false"
    error = reply.json()["error"]
    assert error["code"] == "model_load_failed"
    assert "pull it again" in error["message"]
    assert "Traceback" not in error["message"]
    assert "/home/jenkins" not in error["message"], "the engine's own source paths help nobody"
    assert not workers(server)
    return str(error["message"])


@pytest.mark.slow
def test_a_gguf_that_breaks(service: Service, own_data_dir: Path) -> None:
    path = files(own_data_dir, LLM)
    whole = path.read_bytes()
    server = service(data_dir=own_data_dir)
    for damaged in (whole[: len(whole) // 2], b"", b"GGUF" + bytes(4096)):
        path.write_bytes(damaged)
        assert LLM in refusal(server, "/v1/chat/completions", **chat())
    path.write_bytes(whole)
    ask(server)


@pytest.mark.slow
def test_an_openvino_model_that_breaks(service: Service, own_data_dir: Path) -> None:
    weights = files(own_data_dir, EMBEDDER) / "openvino_model.bin"
    whole = weights.read_bytes()
    server = service(data_dir=own_data_dir)
    body = {"model": EMBEDDER, "input": "a"}
    for damaged in (whole[: len(whole) // 2], b""):
        weights.write_bytes(damaged)
        assert EMBEDDER in refusal(server, "/v1/embeddings", **body)
    weights.unlink()
    refusal(server, "/v1/embeddings", **body)
    weights.write_bytes(whole)
    graph = weights.with_suffix(".xml")
    text = graph.read_bytes()
    graph.write_bytes(text[: len(text) // 2])
    refusal(server, "/v1/embeddings", **body)
    graph.write_bytes(text)
    assert post(server, "/v1/embeddings", **body).status_code == 200


def test_a_model_that_was_deleted_behind_our_back(service: Service, own_data_dir: Path) -> None:
    server = service(data_dir=own_data_dir)
    shutil.rmtree(own_data_dir / "models")
    assert "are gone" in refusal(server, "/v1/chat/completions", **chat())
    assert "are gone" in refusal(server, "/v1/embeddings", model=EMBEDDER, input="a")
    assert len(client(server).get("/v1/models").json()["data"]) == 2
