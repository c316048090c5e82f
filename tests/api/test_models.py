"""Models brought here and removed over HTTP."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import EMBEDDER, LLM, Server

OVER = {"completed", "failed", "cancelled"}


@pytest.fixture(scope="module")
def gguf(server: Server) -> Path:
    """A GGUF file in the folder that the server shows."""
    [original] = (server.data_dir / "models").rglob("*.gguf")
    copy = server.log.parent / "work" / "models" / "tiny.gguf"
    copy.parent.mkdir(exist_ok=True)
    os.link(original, copy)
    return copy


def pulled(http: httpx.Client, **body: Any) -> Any:
    """Import a model and give what became of it."""
    reply = http.post("/api/npu/models", json=body)
    assert reply.status_code == 202, reply.text
    pull = reply.json()
    return outcome(http, pull)


def outcome(http: httpx.Client, pull: Any) -> Any:
    """Wait until an import is over."""
    give_up = time.monotonic() + 240
    while pull["status"] not in OVER:
        assert time.monotonic() < give_up, pull
        time.sleep(0.1)
        pull = http.get(f"/api/npu/pulls/{pull['id']}").json()
    return pull


def test_a_file_in_the_servers_folder_becomes_a_model_and_goes(server: Server, gguf: Path) -> None:
    with server.http() as http:
        pull = pulled(http, source=str(gguf), name="from-http")
        assert (pull["status"], pull["error"]) == ("completed", None)
        assert pull["model"] == "from-http"
        models = {model["name"]: model for model in http.get("/api/npu/models").json()["models"]}
        assert models["from-http"]["source"] == str(gguf)
        assert models["from-http"]["id"] > models[LLM]["id"]
        assert pull in http.get("/api/npu/pulls").json()["pulls"]
        http.post("/v1/models/load", json={"name": "from-http"}).raise_for_status()

        removed = http.delete("/api/npu/models/from-http")
        assert removed.json() == {"status": "removed", "model": "from-http"}
        loaded = http.get("/v1/models/status").json()["models"]
        assert "from-http" not in [model["name"] for model in loaded]
        assert http.delete("/api/npu/models/from-http").status_code == 404
        assert gguf.exists()


def test_a_damaged_file_fails_with_a_reason_and_leaves_nothing(server: Server, gguf: Path) -> None:
    damaged = gguf.with_name("damaged.gguf")
    damaged.write_bytes(b"GGUF" + bytes(100))
    with server.http() as http:
        pull = pulled(http, source=str(damaged), name="damaged")
        assert pull["status"] == "failed"
        assert pull["error"]["code"] == "invalid_model"
        assert http.get("/v1/models/damaged").status_code == 404


def test_paths_outside_the_servers_folder_are_refused(server: Server, gguf: Path) -> None:
    away = [
        "/etc/passwd",
        "../../etc",
        str(gguf.parent / ".." / ".." / ".." / "data"),
        str(server.data_dir),
        "~root/x",
        "C:\\Windows",
        "a\x00b",
    ]
    link = gguf.with_name("link")
    link.symlink_to(server.data_dir)
    with server.http() as http:
        for source in [*away, str(link)]:
            reply = http.post("/api/npu/models", json={"source": source})
            assert reply.status_code == 403, source
            assert reply.json()["error"]["param"] == "source"


def test_the_bare_service_takes_no_paths_at_all(bare_server: Server) -> None:
    with bare_server.http() as http:
        reply = http.post("/api/npu/models", json={"source": str(bare_server.data_dir)})
    assert reply.status_code == 403
    assert "source_dirs" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "source"),
        ({"source": 1}, "source"),
        ({"source": ""}, "source"),
        ({"source": "pypi:x", "name": []}, "name"),
        ({"source": "pypi:x", "precision": 4}, "precision"),
        ({"source": "pypi:x", "precision": "int2"}, "precision"),
    ],
)
def test_bad_imports(server: Server, body: Any, param: str) -> None:
    with server.http() as http:
        reply = http.post("/api/npu/models", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


def test_bad_names_and_sources_fail_by_name(server: Server, gguf: Path) -> None:
    with server.http() as http:
        for body in ({"source": "pypi:../x"}, {"source": str(gguf), "name": "../evil"}):
            pull = pulled(http, **body)
            assert pull["status"] == "failed"
            assert pull["error"]["type"] == "invalid_request_error"


def test_an_import_is_stopped(server: Server, gguf: Path) -> None:
    with server.http() as http:
        pull = http.post("/api/npu/models", json={"source": str(gguf), "name": "stopped"}).json()
        stopped = http.delete(f"/api/npu/pulls/{pull['id']}")
        assert stopped.status_code == 200
        assert outcome(http, pull)["status"] == "cancelled"
        assert http.get("/v1/models/stopped").status_code == 404


def test_an_import_that_there_is_not(server: Server) -> None:
    with server.http() as http:
        assert http.get("/api/npu/pulls/999999").status_code == 404
        assert http.delete("/api/npu/pulls/999999").status_code == 404


def test_devices_are_listed(server: Server) -> None:
    with server.http() as http:
        devices = {
            device["name"]: device for device in http.get("/api/npu/devices").json()["devices"]
        }
    assert devices["CPU"]["available"]
    assert devices["CPU"]["full_name"]


def test_models_have_their_ids(server: Server) -> None:
    with server.http() as http:
        models = {
            model["name"]: model["id"] for model in http.get("/api/npu/models").json()["models"]
        }
    assert models[LLM] == 1
    assert models[EMBEDDER] == 2
