"""How `npu.connect()` finds its server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from client.kernel import Kernel, text_of
from serving import LLM, Server

import npu_jupyter as npu
from npu_jupyter.client.connecting import ServerNotFound, first_that_answers
from npu_jupyter.client.discovery import Candidate, candidates
from npu_jupyter.errors import InvalidApiKey

_VARIABLES = (
    "NPU_JUPYTER_URL",
    "NPU_JUPYTER_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "JUPYTERHUB_SERVICE_URL",
    "JUPYTERHUB_API_TOKEN",
    "JUPYTERHUB_BASE_URL",
    "JPY_PARENT_PID",
)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that names no server; give its runtime folder."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@contextmanager
def another_program() -> Iterator[tuple[str, list[str]]]:
    """Serve a page that is none of ours; give its address and the keys that it was sent."""
    keys: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers.get("Authorization", ""))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok"}')

        def log_message(self, *_args: object) -> None:
            """Keep the tests' output clean."""

    page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{page.server_address[1]}", keys
    page.shutdown()
    page.server_close()


def test_a_url_and_a_key(server: Server) -> None:
    with npu.connect(f"{server.url}/v1/", server.token) as client:
        assert client.url == server.url
        assert LLM in [model.id for model in client.models()]
        assert npu.current() is client


@pytest.mark.parametrize("key", [None, "wrong", "sk-npu-wrong"])
def test_a_key_that_is_refused(server: Server, key: str | None) -> None:
    with pytest.raises(InvalidApiKey, match="the server is there and refuses"):
        npu.connect(server.url, key)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:8000", "no address", ""])
def test_an_address_where_nothing_is(url: str) -> None:
    with pytest.raises(ServerNotFound, match="nothing answers there"):
        npu.connect(url)


def test_nothing_found_says_where_it_was_looked_for() -> None:
    places = [
        Candidate("http://127.0.0.1:1/npu", None, "NPU_JUPYTER_URL"),
        Candidate("http://127.0.0.1:9", None, "the bare service's own port"),
    ]
    with pytest.raises(ServerNotFound) as raised:
        first_that_answers(places)
    told = raised.value.message
    assert "Start one with `jupyter npu`" in told
    assert "http://127.0.0.1:1/npu (NPU_JUPYTER_URL): nothing answers there" in told
    assert "http://127.0.0.1:9 (the bare service's own port)" in told


def test_where_it_is_looked_for(nowhere: Path) -> None:
    (nowhere / "jpserver-7.json").write_text('{"url": "http://127.0.0.1:7/"}', "utf-8")
    environ = {
        "NPU_JUPYTER_URL": "http://one/npu/v1",
        "OPENAI_BASE_URL": "http://two/v1/",
        "JUPYTERHUB_SERVICE_URL": "http://three/user/ada/",
    }
    assert [candidate.url for candidate in candidates(environ)] == [
        "http://one/npu",
        "http://two",
        "http://three/user/ada",
        "http://127.0.0.1:8000",
        "http://127.0.0.1:7",
    ]


def test_the_kernel_s_own_server_by_its_file(
    server: Server, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"url": f"{server.url}/", "token": server.token, "pid": server.pid}
    (nowhere / f"jpserver-{server.pid}.json").write_text(json.dumps(facts), "utf-8")
    (nowhere / "jpserver-1.json").write_text("not json", "utf-8")
    monkeypatch.setenv("JPY_PARENT_PID", str(server.pid))
    found = candidates()[0]
    assert (found.url, found.key) == (server.url, server.token)
    assert npu.connect().url == server.url


def test_the_hub_s_variables(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", f"{server.url}/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", server.token)
    assert npu.connect().url == server.url


def test_what_the_extension_gives_kernels(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", server.key("chat"))
    assert npu.connect().url == server.url


def test_another_service_behind_openai_s_variables_gets_no_key(bare_server: Server) -> None:
    with another_program() as (url, keys):
        theirs, ours = candidates({"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "theirs"})
        assert theirs.key == "theirs"
        found = first_that_answers([theirs, replace(ours, url=bare_server.url)])
    assert found.url == bare_server.url
    assert keys == [""]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://hub.example/base/services/npu/", "the hub's"),
        ("https://elsewhere.example/npu", None),
    ],
)
def test_the_hub_s_token_goes_to_its_services_alone(url: str, key: str | None) -> None:
    environ = {
        "NPU_JUPYTER_URL": url,
        "JUPYTERHUB_BASE_URL": "/base/",
        "JUPYTERHUB_API_TOKEN": "the hub's",
    }
    assert candidates(environ)[0].key == key
    assert candidates(environ | {"NPU_JUPYTER_KEY": "mine"})[0].key == "mine"


@pytest.mark.slow
def test_in_a_kernel_nothing_need_be_named(server: Server, kernel: Kernel) -> None:
    reply, outputs = kernel.run("import npu_jupyter as npu\nprint(npu.connect().url)")
    assert reply["status"] == "ok"
    assert text_of(outputs).strip().replace("localhost", "127.0.0.1") == server.url
