"""A Jupyter Server with or without the extension, as a child process."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
from streams import Streamed, stream
from texts import Chat

from npu_jupyter.registry.records import ModelRecord

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
_REQUEST_TIMEOUT_S = 600
_POLL_S = 0.005
_HERE = Path(__file__).parent
EXTENSION = "npu_jupyter"


class Server:
    """Jupyter Server on a free port, with the settings of nobody."""

    def __init__(self, data_dir: Path, *, extensions: Sequence[str] = (EXTENSION,)) -> None:
        """Prepare a server that loads `extensions` beside Jupyter's own."""
        self._data_dir = data_dir
        self._extensions = extensions
        self.token = secrets.token_hex()
        self.start_s = 0.0
        """Seconds from the start of the process to its first answer."""

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.port = _free_port()
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=_REQUEST_TIMEOUT_S,
            trust_env=False,
        )
        command = self._command(Path(self._folder.name))
        log = (Path(self._folder.name) / "server.log").open("wb")
        started = time.perf_counter()
        with log:
            self._process = subprocess.Popen(
                command,
                env=self._environment(),
                cwd=self._folder.name,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_it_answers(started + _START_TIMEOUT_S)
        except BaseException:
            self.__exit__()
            raise
        self.start_s = time.perf_counter() - started
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, and with it what it started."""
        self._http.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _command(self, folder: Path) -> list[str]:
        """Write the settings and give the command that reads them and no others."""
        config = folder / "config" / "jupyter_server_config.d"
        config.mkdir(parents=True)
        # The environment's own configuration enables us, wherever we are installed.
        loaded = {EXTENSION: False} | dict.fromkeys(self._extensions, True)
        text = json.dumps({"ServerApp": {"jpserver_extensions": loaded}})
        (config / "benchmark.json").write_text(text, encoding="utf-8")
        root = folder / "root"
        root.mkdir()
        return [
            *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
            *(f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={root}"),
        ]

    def _environment(self) -> dict[str, str]:
        """Give the environment: the token is secret, and arguments are not."""
        folder = Path(self._folder.name)
        return {
            **os.environ,
            "JUPYTER_TOKEN": self.token,
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTER_PREFER_ENV_PATH": "0",  # or what a virtual environment enables goes first
            "NPU_JUPYTER_DATA": str(self._data_dir),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_HERE), os.environ.get("PYTHONPATH")])),
        }

    def _wait_until_it_answers(self, deadline: float) -> None:
        while True:
            if self._process.poll() is not None or time.perf_counter() > deadline:
                log = (Path(self._folder.name) / "server.log").read_text(encoding="utf-8")
                raise RuntimeError(f"Jupyter Server did not start:\n{log[-4000:]}")
            try:
                self._http.get("/api").raise_for_status()
            except httpx.TransportError:
                time.sleep(_POLL_S)
            else:
                return

    def memory_bytes(self) -> int:
        """Measure the resident memory of the server and of all that it started."""
        process = psutil.Process(self._process.pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)

    def has(self, path: str) -> bool:
        """Whether there is anything at `path`."""
        return not self._http.get(path).is_error

    def get(self, path: str) -> Any:
        """Ask for a JSON document."""
        return self._http.get(path).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a JSON document and give the one that comes back."""
        return self.timed_post(path, body)[1]

    def put(self, path: str, content: bytes) -> None:
        """Send a file."""
        self._http.put(path, content=content).raise_for_status()

    def delete(self, path: str) -> None:
        """Have something removed."""
        self._http.delete(path).raise_for_status()

    def timed_post(self, path: str, body: dict[str, Any]) -> tuple[float, Any]:
        """Do as `post`; give also the seconds until the last byte, writing and parsing apart."""
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        started = time.perf_counter()
        response = self._http.post(path, content=content, headers=headers)
        seconds = time.perf_counter() - started
        if response.is_error:
            raise RuntimeError(f"{path} answered {response.status_code}: {response.text}")
        return seconds, response.json()

    def load(self, record: ModelRecord) -> None:
        """Load a model for good."""
        self.post("/v1/models/load", {"name": record.name, "device": "CPU", "keep_alive": 0})

    def unload(self, record: ModelRecord) -> None:
        """Unload a model."""
        self.post("/v1/models/unload", {"name": record.name})

    def stream(self, record: ModelRecord, chats: Sequence[Chat], new_tokens: int) -> Streamed:
        """Have `chats` answered, all at once, as streams."""
        return stream(self.port, self.token, record.name, chats, new_tokens)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
