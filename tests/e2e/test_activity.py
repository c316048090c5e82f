"""What counts as activity, by which idle servers are ended: work does, watching does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from serving import LLM, Server
from traitlets.config import Config

from npu_jupyter.app import NpuApp
from npu_jupyter.engine.messages import Sampling
from npu_jupyter.engine.stream import Caller, GenerateRequest, Running

pytestmark = pytest.mark.slow

IDLE = {"engine": False, "imports": False, "fine-tuning": False}


def last_activity(server: Server) -> str:
    """Read when Jupyter Server was last used, in its own opinion."""
    with server.http() as http:
        return str(http.get("/api/status").json()["last_activity"])


def test_who_only_watches_keeps_no_server_awake(lab: Server) -> None:
    before = last_activity(lab)
    with lab.http() as http:
        for path in ("/v1/models", f"/v1/models/{LLM}", "/v1/models/status", "/health"):
            assert http.get(path).status_code == 200
        assert last_activity(lab) == before
        question = {"model": LLM, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        assert http.post("/v1/chat/completions", json=question).status_code == 200
    assert last_activity(lab) > before


@pytest_asyncio.fixture(loop_scope="session")
async def app(data_dir: Path) -> AsyncIterator[NpuApp]:
    """The extension, without a server."""
    app = NpuApp(config=Config({"Registry": {"data_dir": str(data_dir)}}))
    app.initialize_settings()
    assert app.current_activity() is None
    yield app
    await app.pulls.close()
    await app.engine.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_running_request_does(app: NpuApp) -> None:
    request = GenerateRequest(prompts=["One, two,"], sampling=Sampling(max_tokens=4))
    async for event in app.engine.generate(LLM, request, Caller("local")):
        if isinstance(event, Running):
            assert app.current_activity() == IDLE | {"engine": True}
    assert app.current_activity() is None


@pytest.mark.asyncio(loop_scope="session")
async def test_import_does(app: NpuApp, tmp_path: Path) -> None:
    app.pulls.start(str(tmp_path / "nothing.gguf"), None, None)
    assert app.current_activity() == IDLE | {"imports": True}
    await app.pulls.close()
    assert app.current_activity() is None
