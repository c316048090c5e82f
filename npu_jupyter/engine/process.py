"""Child processes, those that end with the server and those that outlive it.

The only place that asks which system it is.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

_SECRETS = ("OPENAI_API_KEY", "JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "HF_TOKEN")

_SAME_START_S = 2.0
"""A process's start is told from the clock, which may have been set meanwhile by this much."""
_END_TIMEOUT_S = 10.0


def spawn(module: str, first_line: bytes, log_path: Path) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` with `first_line` on its standard input.

    The pipe stays open: the child ends when it closes, so that it cannot be orphaned even by
    a server that was killed. What the child needs to know in secret goes through the pipe,
    never through the argument list, which every user of the machine can read.

    Raises:
        OSError: when no process can be started.
    """
    process = _start(module, log_path)
    _say(process, first_line)
    return process


def spawn_detached(
    module: str, first_line: bytes, log_path: Path, *, variables: Mapping[str, str], nice: int
) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` so that it goes on when the server ends.

    It is the first of a process group of its own, is niced by `nice`, and gets `first_line` on
    its standard input, which is then closed.

    Raises:
        OSError: when no process can be started.
    """
    process = _start(module, log_path, variables)
    if nice:
        # Before the first line: what the child starts from then on is as nice as it is.
        with contextlib.suppress(psutil.Error):
            step_back(psutil.Process(process.pid), nice)
    _say(process, first_line)
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    return process


def _start(
    module: str, log_path: Path, variables: Mapping[str, str] = {}
) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if key not in _SECRETS}
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        return subprocess.Popen(
            # -P: the folder of the notebook must not shadow the modules that the child imports.
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**environment, **variables},
            creationflags=flags,
            # A Ctrl-C in the terminal is for the server, which ends its children in order.
            start_new_session=sys.platform != "win32",
        )


def _say(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(line + b"\n")
        process.stdin.flush()


def step_back(process: psutil.Process, nice: int) -> None:
    """Let others go first: `nice` is as on Linux, and any is the same on Windows."""
    if sys.platform == "win32":
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        process.nice(nice)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """What tells a process from a later one of the same number."""

    pid: int
    started: float
    """Unix time in seconds."""

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Identify a process; None when it is gone."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    @property
    def alive(self) -> bool:
        """Whether it still runs; one that only waits to be buried does not."""
        try:
            process = psutil.Process(self.pid)
            return self._is(process) and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def _is(self, process: psutil.Process) -> bool:
        return bool(abs(process.create_time() - self.started) < _SAME_START_S)

    def end_family(self) -> None:
        """Kill it and all of its process group and descent, and wait until they are gone."""
        family = {process.pid: process for process in self._group()}
        if self.alive:
            with contextlib.suppress(psutil.Error):
                leader = psutil.Process(self.pid)
                for process in (leader, *leader.children(recursive=True)):
                    family[process.pid] = process
        for process in family.values():
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(list(family.values()), timeout=_END_TIMEOUT_S)

    def _group(self) -> list[psutil.Process]:
        """List the members of the group that it leads or led, where systems have groups."""
        if sys.platform == "win32" or psutil.boot_time() > self.started + _SAME_START_S:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            if not self._is(psutil.Process(self.pid)):
                return []  # the number is another's by now, and its group too
        members = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) == self.pid:
                    members.append(process)
        return members


def signal_name(exit_code: int) -> str | None:
    """Name the signal that ended a process with this exit code; None if none did."""
    try:
        return signal.Signals(-exit_code).name if exit_code < 0 else None
    except ValueError:
        return None


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
