"""A small Hugging Face hub: enough of its protocol for one repository, and its faults."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_CHUNK_BYTES = 64 * 1024


@dataclass
class Served:
    """What a client asked for."""

    path: str
    start: int
    sent: int = 0
    token: str | None = None


@dataclass
class Hub:
    """Repositories by name, each a folder; and how the line behaves."""

    url: str = ""
    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    claimed_sizes: dict[str, int] = field(default_factory=dict)
    """Sizes to tell instead of the true ones, by file."""
    cut_after: int | None = None
    """Bytes of a large file after which the line breaks, each time."""
    seconds_a_chunk: float = 0.0
    served: list[Served] = field(default_factory=list)

    def describe(self, name: str) -> dict[str, Any]:
        """Give the hub's description of a repository."""
        folder = self.repositories[name]
        return {
            "id": name,
            "sha": COMMIT,
            "siblings": [self._file(folder, path) for path in sorted(folder.rglob("*"))],
        }

    def _file(self, folder: Path, path: Path) -> dict[str, Any]:
        name = path.relative_to(folder).as_posix()
        size = self.claimed_sizes.get(name, path.stat().st_size)
        entry: dict[str, Any] = {"rfilename": name, "size": size, "blobId": "0" * 40}
        if path.suffix in {".bin", ".gguf", ".safetensors"}:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            entry["lfs"] = {"size": size, "sha256": sha256, "pointerSize": 134}
        return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if path.startswith("/api/models/"):
            self._describe(path.removeprefix("/api/models/").partition("/revision/"))
        else:
            name, _, rest = path.lstrip("/").partition("/resolve/")
            self._send_file(self.hub.repositories[name] / rest.partition("/")[2])

    def _describe(self, asked: tuple[str, str, str]) -> None:
        name, _, revision = asked
        if name in self.hub.gated and "Authorization" not in self.headers:
            self._answer(403, {"error": "gated"}, "GatedRepo")
        elif name not in self.hub.repositories:
            self._answer(404, {"error": "Repository not found"}, "RepoNotFound")
        elif revision not in {"", "main", COMMIT}:
            self._answer(404, {"error": "Invalid rev"}, "RevisionNotFound")
        else:
            self._answer(200, self.hub.describe(name))

    def _answer(self, status: int, body: Any, error: str | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        self.wfile.write(content)

    def _send_file(self, path: Path) -> None:
        content = path.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        served = Served(path.name, start, token=self.headers.get("Authorization"))
        self.hub.served.append(served)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = self.hub.cut_after
        for offset in range(start, len(content), _CHUNK_BYTES):
            if cut is not None and served.sent >= cut:
                self.close_connection = True
                return
            chunk = content[offset : offset + _CHUNK_BYTES]
            self.wfile.write(chunk)
            served.sent += len(chunk)
            time.sleep(self.hub.seconds_a_chunk)

    def log_message(self, *_args: Any) -> None:
        """Keep the tests' output clean."""


class HubServer:
    """Serves a `Hub` on a port of its own while the context lasts."""

    def __init__(self) -> None:
        self.hub = Hub()
        handler = type("Handler", (_Handler,), {"hub": self.hub})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.hub.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self.hub

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
