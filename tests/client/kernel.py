"""A kernel that a real server starts, driven cell by cell, with interrupts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from serving import Server

_TIMEOUT_S = 120


class Kernel:
    """Runs cells; what they show and print is kept."""

    def __init__(self, server: Server, kernel_id: str) -> None:
        self._server = server
        self._id = kernel_id
        connection = server.log.parent / "runtime" / f"kernel-{kernel_id}.json"
        self._client = BlockingKernelClient(connection_file=str(connection))
        self._client.load_connection_file()
        # Without the heartbeat, which a busy machine would take for the kernel's death.
        self._client.start_channels(hb=False)
        self._client.wait_for_ready(timeout=_TIMEOUT_S)

    def run(
        self, code: str, *, each: Callable[[dict[str, Any]], None] | None = None
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Run a cell; give its reply and its outputs, each of which `each` is told of."""
        outputs: list[dict[str, Any]] = []

        def collect(message: dict[str, Any]) -> None:
            if message["msg_type"] not in {"status", "execute_input"}:
                outputs.append(message)
                if each is not None:
                    each(message)

        reply = self._client.execute_interactive(
            code, output_hook=collect, allow_stdin=False, timeout=_TIMEOUT_S
        )
        return reply["content"], outputs

    def interrupt(self) -> None:
        """Press the stop button."""
        with self._server.http() as http:
            assert http.post(f"/api/kernels/{self._id}/interrupt").status_code == 204

    def run_until(self, code: str, shows: Callable[[str], bool]) -> tuple[dict[str, Any], str]:
        """Run a cell and interrupt it once what it has shown satisfies `shows`."""
        seen: list[str] = []
        pressed = threading.Event()

        def look(message: dict[str, Any]) -> None:
            seen.append(_text(message))
            if not pressed.is_set() and shows("".join(seen)):
                pressed.set()
                self.interrupt()

        reply, outputs = self.run(code, each=look)
        assert pressed.is_set(), reply
        return reply, "".join(map(_text, outputs))

    def close(self) -> None:
        """Stop listening."""
        self._client.stop_channels()


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    data = content.get("data", {})
    shown = data.get("text/markdown") or data.get("text/plain") or ""
    return content.get("text") or shown or "\n".join(content.get("traceback", []))


def text_of(outputs: list[dict[str, Any]]) -> str:
    """Join what a cell printed and showed."""
    return "".join(map(_text, outputs))


@contextmanager
def kernel_of(server: Server) -> Iterator[Kernel]:
    """Have the server start a kernel as it does for a notebook, and end it."""
    with server.http() as http:
        kernel_id = http.post("/api/kernels", json={"name": "python3"}).json()["id"]
        kernel = Kernel(server, kernel_id)
        try:
            yield kernel
        finally:
            kernel.close()
            http.delete(f"/api/kernels/{kernel_id}")
