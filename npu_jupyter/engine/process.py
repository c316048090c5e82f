"""Child processes that never outlive the server: the only place that asks which system it is."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from pathlib import Path

import psutil

_SECRETS = ("OPENAI_API_KEY", "JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "HF_TOKEN")


def spawn(module: str, first_line: bytes, log_path: Path) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` with `first_line` on its standard input.

    The pipe stays open: the child ends when it closes, so that it cannot be orphaned even by
    a server that was killed. What the child needs to know in secret goes through the pipe,
    never through the argument list, which every user of the machine can read.

    Raises:
        OSError: when no process can be started.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _SECRETS}
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            # -P: the folder of the notebook must not shadow the modules that the child imports.
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            creationflags=flags,
            # A Ctrl-C in the terminal is for the server, which ends its children in order.
            start_new_session=sys.platform != "win32",
        )
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(first_line + b"\n")
        process.stdin.flush()
    return process


def free_endpoint() -> str:
    """Give ZeroMQ an address to bind where only this machine can connect.

    A message through Linux's abstract sockets, which leave no file behind, takes half the
    processor time of one through loopback TCP, that every system has.
    """
    name = f"npu-jupyter-{secrets.token_hex(8)}"
    return f"ipc://@{name}" if sys.platform == "linux" else "tcp://127.0.0.1:*"


def memory_bytes(pid: int) -> int:
    """Measure the resident memory of a process; 0 when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def tail(path: Path, lines: int = 5) -> str:
    """Give the last lines of a log, for the server's own log."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
