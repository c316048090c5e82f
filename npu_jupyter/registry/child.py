"""Run a step of an import in a process of its own, with progress, and stop it when told to.

Importing torch or openvino_genai costs seconds and memory for good, and a damaged file may
crash its reader: neither may happen in the Jupyter Server's process. The two sides speak JSON
lines. The request goes over stdin, where process lists do not show it; stdin's end tells the
child that its parent is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, Queue
from typing import IO, Any

import psutil

from npu_jupyter import errors
from npu_jupyter.errors import NpuError
from npu_jupyter.registry.incoming import PullCancelled
from npu_jupyter.registry.records import PullProgress

_POLL_S = 0.1
_TAIL_CHARACTERS = 2000
_STDIN_CLOSED = 3


class ChildDied(NpuError):
    """The process ended without an answer: it crashed, or was killed."""

    code = "import_failed"


def run_child(
    module: str,
    request: dict[str, Any],
    *,
    report: Callable[[PullProgress], None],
    cancelled: threading.Event,
    timeout_s: float = 0,
) -> dict[str, Any]:
    """Run ``python -m module`` with `request` and return its result.

    A `timeout_s` of 0 is no limit. Raises the error that the child names, `ChildDied` or
    `PullCancelled`.
    """
    # -P: a folder that happens to be the current one must not lend its modules.
    command = [sys.executable, "-P", "-m", module]
    with tempfile.TemporaryFile() as stderr:
        process = start(command, stderr)
        assert process.stdin is not None
        # OSError: it died at once, and the end of its output says so below.
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        result: dict[str, Any] | None = None
        try:
            for line in lines(process, cancelled, timeout_s):
                message = json.loads(line)
                if "error" in message:
                    raise _named_error(message)
                if "result" in message:
                    result = message["result"]
                else:
                    report(PullProgress(**message))
        finally:
            stop(process)
        if result is None:
            raise ChildDied(
                f"The process that ran {module} ended with code {process.returncode}: "
                f"{_last_line(stderr)}"
            )
        return result


def start(
    command: list[str], stderr: IO[bytes] | int, env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process whose output `lines` reads."""
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=env
    )


def lines(
    process: subprocess.Popen[bytes], cancelled: threading.Event, timeout_s: float = 0
) -> Iterator[str]:
    """Yield the lines that a process writes until it ends; 0 seconds is no limit."""
    queue: Queue[bytes | None] = Queue()
    threading.Thread(target=_read, args=(process.stdout, queue), daemon=True).start()
    deadline = time.monotonic() + timeout_s
    while True:
        if cancelled.is_set():
            raise PullCancelled("The import was stopped. Nothing was registered.")
        if timeout_s and time.monotonic() > deadline:
            raise ChildDied(f"The import was given up after {timeout_s:.0f} s without an end.")
        try:
            line = queue.get(timeout=_POLL_S)
        except Empty:
            continue
        if line is None:
            process.wait()
            return
        yield line.decode("utf-8", errors="replace")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and those it started, if it still runs, and wait for it."""
    if process.poll() is None:
        try:
            family = [*psutil.Process(process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        process.kill()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            # OSError: bytes are left for a process that is gone.
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def _read(stream: IO[bytes], queue: Queue[bytes | None]) -> None:
    # ValueError: stop() has closed the stream.
    with contextlib.suppress(ValueError):
        for line in stream:
            queue.put(line)
    queue.put(None)


def _named_error(message: dict[str, Any]) -> NpuError:
    kind: type[NpuError] = getattr(errors, message["error"])
    # Not through the class's own __init__: some compose their message from other arguments.
    error = kind.__new__(kind)
    NpuError.__init__(error, message["message"], param=message["param"])
    return error


def _last_line(stderr: IO[bytes]) -> str:
    end = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, end - _TAIL_CHARACTERS))
    text = stderr.read().decode("utf-8", errors="replace").strip()
    return text.splitlines()[-1] if text else "it wrote nothing"


class Parent:
    """What the child speaks to."""

    def __init__(self) -> None:
        """Take stdout for the channel; whatever a library prints goes to stderr."""
        self._channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.request: dict[str, Any] = json.loads(sys.stdin.readline())
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def report(
        self, stage: str, done_bytes: int = 0, total_bytes: int = 0, message: str = ""
    ) -> None:
        """Tell how far the work is."""
        self._send(
            {
                "stage": stage,
                "done_bytes": done_bytes,
                "total_bytes": total_bytes,
                "message": message,
            }
        )

    def answer(self, work: Callable[[Parent], dict[str, Any]]) -> None:
        """Do the work and send its result, or the error that it raised."""
        try:
            self._send({"result": work(self)})
        except NpuError as error:
            self._send(
                {
                    "error": type(error).__name__,
                    "message": error.message,
                    "param": error.param,
                }
            )

    def _send(self, message: dict[str, Any]) -> None:
        self._channel.write(json.dumps(message) + "\n")
        self._channel.flush()

    @staticmethod
    def _end_with_parent() -> None:
        # Not sys.stdin: its lock, held by this thread, would break the interpreter's exit.
        while os.read(0, 1):
            pass
        os._exit(_STDIN_CLOSED)
