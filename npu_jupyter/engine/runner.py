"""Owns one worker process: starts it, talks to it, and says when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import subprocess
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec

from npu_jupyter import errors
from npu_jupyter.engine import process
from npu_jupyter.engine.channel import Channel
from npu_jupyter.engine.messages import (
    Cancel,
    Embed,
    Embedded,
    Exit,
    Failed,
    Finished,
    FromWorker,
    Generate,
    Load,
    Loaded,
    LoadError,
    Loading,
    Output,
    Step,
)

_EXIT_GRACE_S = 3.0
_LONGEST_TIMER_S = 365 * 24 * 3600.0  # a timer cannot be infinite


class Inbox:
    """What a worker sent for one request and nobody has read yet."""

    def __init__(self) -> None:
        """Start empty."""
        self._outputs: list[Output] = []
        self._ended = False
        self._reader: asyncio.Future[None] | None = None

    def put(self, output: Output) -> None:
        """Add `output` and wake the reader; what comes after an end is not told."""
        if self._ended:
            return
        self._ended = isinstance(output, Finished | Failed | Embedded)
        self._outputs.append(output)
        if self._reader and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> list[Output]:
        """Wait for outputs and take all there are."""
        if not self._outputs:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        outputs, self._outputs = self._outputs, []
        return outputs


class Runner:
    """One worker process with one model in it."""

    def __init__(
        self,
        load: Load,
        *,
        module: str,
        log_path: Path,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger],
    ) -> None:
        """Prepare to run `load` in ``python -m module``."""
        self._load = load
        self._module = module
        self._log_path = log_path
        self._log = log
        self._ids = itertools.count(1)
        self._inboxes: dict[int, Inbox] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._ready: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._exited = asyncio.Event()
        self._stopping = False
        self.on_stage: Callable[[str], None] = lambda _stage: None
        self.on_exit: Callable[[], None] = lambda: None
        """Called on the loop when the process ended without being asked to."""

    @property
    def pid(self) -> int:
        """The worker's process id; 0 before it started."""
        return self._process.pid if self._process else 0

    async def start(self) -> Loaded:
        """Start the process and wait until the model is ready.

        Raises:
            LoadFailed: when the model cannot be loaded or the process dies first.
        """
        self._channel = Channel(self._handle)
        try:
            self._process = process.spawn(
                self._module, msgspec.json.encode(self._channel.address), self._log_path
            )
        except OSError as error:
            self._close()
            message = f"No process can be started for {self._load.name}: {error}."
            raise errors.LoadFailed(message) from error
        self._watch(self._process)
        self._channel.send(self._load)
        return await self._ready

    def _watch(self, child: subprocess.Popen[bytes]) -> None:
        """Have a thread wait for the process: asyncio cannot on Windows' selector loop."""
        loop = asyncio.get_running_loop()

        def wait() -> None:
            returncode = child.wait()
            with contextlib.suppress(RuntimeError):  # the loop closed with the server
                loop.call_soon_threadsafe(self._ended, returncode)

        threading.Thread(target=wait, name=f"wait-{child.pid}", daemon=True).start()

    def _handle(self, message: FromWorker) -> None:
        match message:
            case Step(outputs):
                for output in outputs:
                    inbox = self._inboxes.get(output.id)
                    if inbox:
                        inbox.put(output)
            case Loading(stage):
                self.on_stage(stage)
            case Loaded() if not self._ready.done():
                self._ready.set_result(message)
            case LoadError(text) if not self._ready.done():
                self._ready.set_exception(errors.LoadFailed(text))

    def _ended(self, returncode: int) -> None:
        """Tell everyone who waits that the process is gone."""
        self._close()
        self._exited.set()
        name = self._load.name
        if not self._stopping:
            self._log.error(
                "The worker of %s (pid %d) ended with code %d. Its last words:\n%s",
                name,
                self.pid,
                returncode,
                process.tail(self._log_path),
            )
        if not self._ready.done():
            text = f"its process ended with code {returncode}; the server's log has its last words"
            self._ready.set_exception(errors.LoadFailed(text))
            self._ready.exception()  # read, in case the load was given up
        message = f"The process that ran {name} ended in mid-answer. Send the request again."
        error = errors.ModelUnloaded if self._stopping else errors.WorkerDied
        for request_id, inbox in self._inboxes.items():
            inbox.put(Failed(request_id, error.__name__, message))
        if not self._stopping:
            self.on_exit()

    async def run(
        self, request: Generate | Embed, timeout_s: float
    ) -> AsyncGenerator[list[Output]]:
        """Send a request, whose id is set here, and yield what comes back until its end.

        Closing the iterator before the end cancels the request in the worker.

        Raises:
            DeadlineExceeded: when it is not done after `timeout_s`.
            NpuError: of the kind that the worker named.
        """
        request = msgspec.structs.replace(request, id=next(self._ids))
        inbox = self._inboxes[request.id] = Inbox()
        finished = False
        timer = _end_after(timeout_s, request.id, inbox)
        try:
            if self._channel is None:
                raise errors.WorkerDied("The model's process has ended. Send the request again.")
            self._channel.send(request)
            while not finished:
                outputs = await inbox.get()
                last = outputs[-1]
                finished = isinstance(last, Finished | Failed | Embedded)
                if isinstance(last, Failed):
                    if outputs[:-1]:
                        yield outputs[:-1]
                    raise _error(last)
                yield outputs
        finally:
            del self._inboxes[request.id]
            timer.cancel()
            if not finished or timer.when() <= asyncio.get_running_loop().time():
                self._tell(Cancel(request.id))

    def _tell(self, message: Cancel | Exit) -> None:
        """Send what a process that is gone need not hear."""
        if self._channel:
            self._channel.send(message)

    async def stop(self) -> None:
        """End the process: asked first, killed after a grace period."""
        self._stopping = True
        if self._process is None:
            return
        self._tell(Exit())
        # A load that was given up listens to nobody until it is done.
        grace_s = 0 if self._ready.cancelled() else _EXIT_GRACE_S
        if not await self._wait_exited(grace_s):
            self._process.kill()
            await self._exited.wait()

    async def _wait_exited(self, timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._exited.wait(), timeout_s)
        return self._exited.is_set()

    def _close(self) -> None:
        if self._channel:
            self._channel.close()
            self._channel = None
        if self._process and self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


def _end_after(timeout_s: float, request_id: int, inbox: Inbox) -> asyncio.TimerHandle:
    """Put an end to a request when its time is over."""
    message = "The request took longer than this server allows. Ask for fewer tokens."
    failed = Failed(request_id, errors.DeadlineExceeded.__name__, message)
    return asyncio.get_running_loop().call_later(
        min(timeout_s, _LONGEST_TIMER_S), inbox.put, failed
    )


def _error(failed: Failed) -> errors.NpuError:
    """Turn a worker's report back into the exception that it names."""
    kind = getattr(errors, failed.error, errors.EngineFailed)
    error: errors.NpuError = kind(failed.message, param=failed.param)
    return error
