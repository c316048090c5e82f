"""What the clients do, against a real server; the twin for asyncio in the same words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from serving import EMBEDDER, LLM, Server

import npu_jupyter as npu
from npu_jupyter.client import AsyncClient, Client
from npu_jupyter.client.answers import Event, EventReader, Note, ServerUnreachable
from npu_jupyter.client.records import Loading
from npu_jupyter.errors import EngineFailed, InvalidRequest, ModelNotFound, PermissionDenied


def test_models_and_devices(client: Client) -> None:
    models = {model.id: model for model in client.models()}
    assert (models[LLM].type, models[EMBEDDER].type) == ("llm", "embedding")
    assert client.model(EMBEDDER) == models[EMBEDDER]
    cpu = next(device for device in client.devices() if device.name == "CPU")
    assert cpu.available
    assert cpu.full_name


def test_load_tells_its_stages_and_unload_undoes_it(client: Client) -> None:
    client.load(EMBEDDER)
    client.unload(EMBEDDER)
    stages: list[Loading] = []
    loaded = client.load(EMBEDDER, pin=True, progress=stages.append)
    assert (loaded.status, loaded.model, loaded.device) == ("loaded", EMBEDDER, "CPU")
    assert [stage.stage for stage in stages][:1] == ["find"]
    status = {model.name: model for model in client.status()}[EMBEDDER]
    assert status.pinned
    assert status.max_running >= 1
    assert client.load(EMBEDDER, pin=False, keep_alive_s=60).status == "already_loaded"
    client.unload(EMBEDDER)
    assert EMBEDDER not in [model.name for model in client.status()]


def test_errors_are_those_of_the_server(client: Client) -> None:
    with pytest.raises(ModelNotFound, match="There is no model 'a/b:c'"):
        client.model("a/b:c")
    with pytest.raises(ModelNotFound):
        client.unload("a/b:c")
    with pytest.raises(InvalidRequest) as raised:
        client.load(LLM, keep_alive_s=-1)
    assert raised.value.param == "keep_alive"
    assert raised.value._render_traceback_() == [f"InvalidRequest: {raised.value.message}"]


def test_a_failure_within_a_stream(client: Client) -> None:
    with pytest.raises(ModelNotFound):
        client.load("a/b:c")
    with pytest.raises(PermissionDenied, match="folder"):
        client.pull("/etc/passwd")


def test_a_server_that_is_gone() -> None:
    with pytest.raises(ServerUnreachable, match=r"http://127.0.0.1:9 does not answer"):
        Client("http://127.0.0.1:9").models()


def test_the_key_s_scopes_hold(server: Server) -> None:
    with npu.connect(server.url, server.key("chat")) as client:
        with pytest.raises(PermissionDenied, match="scopes are chat"):
            client.remove(LLM)
        assert LLM in [model.id for model in client.models()]


def test_events(client: Client) -> None:
    client.load(EMBEDDER)
    told: list[dict[str, Any]] = []
    listening = client.events()

    def listen() -> None:
        for event in listening:
            told.append(event)
            if event["event"] == "model.unloaded":
                return

    listener = threading.Thread(target=listen)
    listener.start()
    while listener.is_alive():  # whether it listens yet can only be seen by what it hears
        client.load(EMBEDDER)
        client.unload(EMBEDDER)
        listener.join(0.5)
    assert told[-1]["model"] == EMBEDDER


def test_the_default_model(client: Client) -> None:
    assert client.default_model().id == LLM
    assert client.default_model("embedding").id == EMBEDDER


def test_openai_needs_no_arguments(client: Client) -> None:
    sdk = npu.openai(max_retries=0)
    assert sdk.max_retries == 0
    assert LLM in [model.id for model in sdk.models.list()]


@pytest.mark.asyncio(loop_scope="session")
async def test_the_twin_does_the_same(bare_server: Server) -> None:
    async with npu.connect_async(bare_server.url) as client:
        assert isinstance(client, AsyncClient)
        models, devices = await asyncio.gather(client.models(), client.devices())
        assert {LLM, EMBEDDER} <= {model.id for model in models}
        assert any(device.name == "CPU" for device in devices)
        stages: list[Loading] = []
        await client.load(EMBEDDER)
        await client.unload(EMBEDDER)
        assert (await client.load(EMBEDDER, progress=stages.append)).status == "loaded"
        assert stages
        assert EMBEDDER in [model.name for model in await client.status()]
        assert (await client.default_model("embedding")).id == EMBEDDER
        await _an_event_is_heard(client)
        with pytest.raises(ModelNotFound):
            await client.model("none")
        assert LLM in [model.id async for model in await _listed(client)]


async def _an_event_is_heard(client: AsyncClient) -> None:
    async def load_and_unload() -> None:
        while True:
            await client.load(EMBEDDER)
            await client.unload(EMBEDDER)

    busy = asyncio.create_task(load_and_unload())
    events = client.events()
    heard = await anext(events)
    assert heard["model"] == EMBEDDER
    busy.cancel()


async def _listed(client: AsyncClient) -> AsyncIterator[Any]:
    return aiter(await client.openai().models.list())


def test_lines_become_events_notes_and_errors() -> None:
    reader = EventReader()
    lines = ["id: 7", 'data: {"a":', "data: 1}", "", ": queued 3/17", "data: [DONE]", ""]
    told = [item for line in lines for item in reader.feed(line)]
    assert told == [Event({"a": 1}, "7"), Note("queued 3/17")]
    envelope = 'data: {"error": {"message": "It broke.", "code": "engine_failed"}}'
    with pytest.raises(EngineFailed, match=r"It broke\."):
        [*reader.feed(envelope), *reader.feed("")]
