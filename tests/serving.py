"""Real servers for tests that speak HTTP, each started once."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from npu_jupyter.keys import KeyRing
from npu_jupyter.registry.store import Registry

ROOT = Path(__file__).parents[1]
LLM = "smollm2-135m-instruct"
EMBEDDER = "all-minilm-l6-v2"

_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Those of the machine take long to read, and loopback needs none."""


@dataclass(frozen=True)
class Server:
    """A real server in a process of its own."""

    url: str
    """With the base URL, without a slash at the end."""
    token: str
    log: Path
    data_dir: Path
    pid: int

    def client(self, **options: Any) -> OpenAI:
        """Give OpenAI's own client, which checks every field that we answer."""
        defaults: dict[str, Any] = {
            "api_key": self.token,
            "max_retries": 0,
            "_strict_response_validation": True,
        }
        return OpenAI(base_url=f"{self.url}/v1", **defaults | options)

    def http(self, **headers: str) -> httpx.Client:
        """Give a plain client; without headers it sends the server's token."""
        if self.token and not headers:
            headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(
            base_url=self.url, headers=headers, timeout=120, verify=_NO_CERTIFICATES
        )

    def key(self, *scopes: str) -> str:
        """Make an API key as ``jupyter npu keys`` does."""
        registry = Registry(data_dir=str(self.data_dir))
        return KeyRing(registry).create(f"key-{uuid.uuid4().hex}", scopes, "ada")


@contextmanager
def serve(
    command: list[str],
    path: str,
    token: str,
    data_dir: Path,
    home: Path,
    *,
    variables: Mapping[str, str] = {},
) -> Iterator[Server]:
    """Run a server with files of its own until the tests that need it are done."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("OPENAI_")},
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_TOKEN": token,
        "NPU_JUPYTER_DATA": str(data_dir),
        "PYTHONPATH": str(ROOT),
        **variables,
    }
    if not token:
        del environment["JUPYTER_TOKEN"]
    log = home / "server.log"
    arguments = [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--allow-root"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command, *arguments],
            cwd=home,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(f"http://127.0.0.1:{port}{path}", token, log, data_dir, process.pid)
    try:
        _wait_until_up(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_until_up(server: Server, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, server.log.read_text("utf-8")
        with suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/health").status_code == 200:
                return
        time.sleep(0.1)
    pytest.fail(server.log.read_text("utf-8"))


@pytest.fixture(scope="session")
def data_dir(trainable_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with both demo models that may be written to."""
    folder = tmp_path_factory.mktemp("data") / "npu"
    return Path(shutil.copytree(trainable_data_dir, folder))


@pytest.fixture(scope="session")
def server(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Jupyter Server with the extension, below a path and behind a token."""
    home = tmp_path_factory.mktemp("server")
    (home / "work").mkdir()
    command = [
        "-m",
        "jupyter_server",
        "--ServerApp.jpserver_extensions={'npu_jupyter': True}",
        "--ServerApp.allow_unauthenticated_access=False",
        "--ServerApp.base_url=/user/ada/",
        "--ServerApp.open_browser=False",
        "--ServerApp.allow_origin_pat=https://.*\\.example\\.org",
        f"--ServerApp.root_dir={home / 'work'}",
    ]
    with serve(command, "/user/ada", "the-token-of-the-tests", data_dir, home) as running:
        yield running


@pytest.fixture(scope="session")
def bare_server(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``jupyter npu``: no kernels, no files, and no key asked on loopback."""
    command = ["-c", "from npu_jupyter.app import main; main()"]
    with serve(command, "", "", data_dir, tmp_path_factory.mktemp("bare")) as running:
        yield running
