"""``python -m npu_jupyter.engine.worker``: load one model and serve its requests."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any, Protocol

from npu_jupyter.engine.messages import (
    Cancel,
    Embed,
    Exit,
    Failed,
    Generate,
    Load,
    Loaded,
    LoadError,
    Loading,
    Output,
    Step,
    ToWorker,
)
from npu_jupyter.engine.worker.channel import Channel, connect
from npu_jupyter.errors import NpuError
from npu_jupyter.registry.records import ModelType

_DEFAULT_CONTEXT_LENGTH = 2048
_DEFAULT_EMBEDDING_CONTEXT_LENGTH = 512


class Backend(Protocol):
    """A pipeline of openvino_genai with what runs in it."""

    max_running: int

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""

    def warm_up(self) -> None:
        """Run the shortest request, so that the first caller does not wait for buffers."""

    def add(self, request: Any) -> None:
        """Take a request, or raise an NpuError."""

    def cancel(self, request: int) -> None:
        """Forget a request."""

    def step(self) -> None:
        """Do the next piece of work and send what it gave."""


class Worker:
    """The loop between the channel and the backend."""

    def __init__(self, channel: Channel) -> None:
        """Serve `channel`, whose first message says what to load."""
        self._channel = channel
        self._exit = False
        load = channel.receive()
        assert isinstance(load, Load)
        self._load = load

    def _send(self, outputs: list[Output]) -> None:
        self._channel.send(Step(outputs))

    def load(self) -> Backend:
        """Load the model, telling each stage."""
        load = self._load
        self._channel.send(Loading("read"))
        context_length = _context_length(load)
        self._channel.send(Loading("compile"))
        backend = self._backend(context_length)
        self._channel.send(Loading("warm_up"))
        backend.warm_up()
        self._channel.send(
            Loaded(
                device=load.device,
                context_length=context_length,
                embedding_length=getattr(backend, "length", None),
                max_running=backend.max_running,
            )
        )
        return backend

    def _backend(self, context_length: int) -> Backend:
        """Import the engine and build the pipeline that this model and device need."""
        load = self._load
        if load.type == ModelType.EMBEDDING:
            from npu_jupyter.engine.worker.embedding import Embedding

            return Embedding(load, context_length, self._send)
        if load.single:
            from npu_jupyter.engine.worker.single import SingleRequest

            return SingleRequest(load, context_length, self._send, self._poll)
        if load.adapters:
            from npu_jupyter.engine.worker.adapter_batching import AdapterBatching

            return AdapterBatching(load, context_length, self._send)
        from npu_jupyter.engine.worker.batching import ContinuousBatching

        return ContinuousBatching(load, context_length, self._send)

    def serve(self, backend: Backend) -> None:
        """Step while there is work, wait for a message while there is none."""
        self._running = backend
        while not self._exit:
            if backend.busy:
                self._poll()
                if backend.busy:
                    backend.step()
            else:
                self._handle(self._channel.receive())

    def _poll(self) -> None:
        for message in self._channel.pending():
            self._handle(message)

    def _handle(self, message: ToWorker) -> None:
        match message:
            case Generate() | Embed():
                self._add(message)
            case Cancel(id=request):
                self._running.cancel(request)
            case Exit():
                self._exit = True

    def _add(self, request: Generate | Embed) -> None:
        try:
            self._running.add(request)
        except NpuError as error:
            self._send([Failed(request.id, type(error).__name__, error.message, error.param)])
        except Exception as error:  # noqa: BLE001 - the engine raises whatever it likes
            traceback.print_exc()
            self._running.cancel(request.id)
            reason = str(error).strip().splitlines()[-1]
            message = f"The engine refused this request: {reason}"
            self._send([Failed(request.id, "EngineFailed", message)])


def _context_length(load: Load) -> int:
    """Find how many tokens the model reads: told, or written in its configuration."""
    if load.context_length:
        return load.context_length
    config = Path(load.path) / "config.json"
    if config.is_file():
        length = json.loads(config.read_text(encoding="utf-8")).get("max_position_embeddings")
        if isinstance(length, int) and length > 0:
            return length
    embedding = load.type == ModelType.EMBEDDING
    return _DEFAULT_EMBEDDING_CONTEXT_LENGTH if embedding else _DEFAULT_CONTEXT_LENGTH


def main() -> None:
    """Serve one model until the server says so or goes away."""
    channel = connect()
    worker = Worker(channel)
    try:
        backend = worker.load()
    except Exception as error:  # whatever the engine raises, the server is to say it in words
        lines = str(error).strip().splitlines() or [type(error).__name__]
        channel.send(LoadError(lines[-1]))
        channel.close()
        raise SystemExit(1) from error
    worker.serve(backend)
    channel.close()


if __name__ == "__main__":
    main()
