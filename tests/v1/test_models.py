"""Which models there are, loading and unloading."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from serving import EMBEDDER, LLM, Server


def test_registered_models_are_listed_loaded_or_not(server: Server) -> None:
    models = {model.id: model for model in server.client().models.list()}
    assert {LLM, EMBEDDER} <= set(models)
    facts: Any = models[LLM].model_extra
    assert models[LLM].owned_by == "npu-stack"
    assert facts["npu"]["registry_id"] == 1
    assert facts["npu"]["type"] == "llm"
    assert facts["npu"]["context_length"] == 8192


def test_one_model_and_none(server: Server) -> None:
    client = server.client()
    assert client.models.retrieve(EMBEDDER).id == EMBEDDER
    with pytest.raises(openai.NotFoundError, match="org/name:tag"):
        client.models.retrieve("org/name:tag")
    with server.http() as http:
        for name in ("..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "%2E%2E", "a%0Ab", "a%00b"):
            reply = http.get(f"/v1/models/{name}")
            assert reply.status_code == 404
            assert reply.json()["error"]["code"] == "model_not_found"


def test_load_status_and_unload(server: Server) -> None:
    with server.http() as http:
        http.post("/v1/models/unload", json={"name": EMBEDDER})
        unloaded = http.post("/v1/models/unload", json={"name": EMBEDDER})
        assert unloaded.status_code == 404
        assert unloaded.json()["error"]["code"] == "model_not_found"

        loaded = http.post("/v1/models/load", json={"name": EMBEDDER, "keep_alive": 60})
        assert loaded.headers["x-npu-device"] == "CPU"
        facts = loaded.json()
        assert set(facts) == {"status", "model", "type", "device", "loaded_at"}
        assert (facts["status"], facts["model"]) == ("loaded", EMBEDDER)
        again = http.post("/v1/models/load", json={"name": EMBEDDER, "pin": True}).json()
        assert again == facts | {"status": "already_loaded"}

        status = {model["name"]: model for model in http.get("/v1/models/status").json()["models"]}
        mine = status[EMBEDDER]
        assert (mine["device"], mine["status"], mine["pinned"]) == ("CPU", "loaded", True)
        assert mine["memory_bytes"] > 2**20
        assert mine["requests_running"] == mine["requests_waiting"] == 0
        listed = http.get(f"/v1/models/{EMBEDDER}").json()
        assert (listed["npu"]["status"], listed["npu"]["device"]) == ("loaded", "CPU")

        gone = http.post("/v1/models/unload", json={"name": EMBEDDER, "force": True})
        assert gone.json() == {"status": "unloaded", "model": EMBEDDER}
        names = {model["name"] for model in http.get("/v1/models/status").json()["models"]}
        assert EMBEDDER not in names


def test_the_stages_of_a_load_are_streamed(server: Server) -> None:
    with server.http() as http:
        http.post("/v1/models/unload", json={"name": EMBEDDER})
        reply = http.post("/v1/models/load", json={"name": EMBEDDER, "stream": True})
    assert reply.headers["content-type"] == "text/event-stream"
    lines = [line for line in reply.text.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert {event["status"] for event in events[:-1]} == {"loading"}
    assert events[-1]["status"] == "loaded"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "name"),
        ({"name": 3}, 400, "name"),
        ({"name": LLM, "device": ""}, 400, "device"),
        ({"name": LLM, "pin": "yes"}, 400, "pin"),
        ({"name": LLM, "keep_alive": -1}, 400, "keep_alive"),
        ({"name": LLM, "keep_alive": 1e300}, 400, "keep_alive"),
        ({"name": "nobody"}, 404, None),
        ({"name": "../../../etc/passwd"}, 404, None),
        ({"name": "/etc/passwd"}, 404, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_loads(server: Server, body: Any, status: int, param: str | None, stream: bool) -> None:
    with server.http() as http:
        reply = http.post("/v1/models/load", json=body | {"stream": stream})
    assert reply.status_code == status
    if param is not None:
        assert reply.json()["error"]["param"] == param


def test_a_device_that_is_not_there_is_refused(server: Server) -> None:
    with server.http() as http:
        reply = http.post("/v1/models/load", json={"name": LLM, "device": "TPU"})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "device_unavailable"


def test_health_is_open_and_starts_nothing(server: Server) -> None:
    with server.http() as http, server.http(Authorization="") as anyone:
        before = http.get("/v1/models/status").json()
        assert anyone.get("/health").json()["status"] == "ok"
        assert len(http.get("/v1/models/status").json()["models"]) == len(before["models"])
