"""The engine: which model, which place in line, which worker. No Tornado, no OpenVINO."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traitlets import Float
from traitlets.config import LoggingConfigurable

from npu_jupyter import errors
from npu_jupyter.engine.devices import Device, Devices
from npu_jupyter.engine.events import EventBus
from npu_jupyter.engine.lane import Ticket
from npu_jupyter.engine.messages import Delta, Embed, Embedded, Generate, Started
from npu_jupyter.engine.model import LiveModel, LoadedModel
from npu_jupyter.engine.pool import ModelPool
from npu_jupyter.engine.stream import (
    Caller,
    GenerateRequest,
    LoadingModel,
    Running,
    StreamEvent,
    Text,
    Vectors,
    Waiting,
)
from npu_jupyter.registry.records import ModelRecord, ModelType

if TYPE_CHECKING:
    from npu_jupyter.registry.store import Registry

_PROGRESS_INTERVAL_S = 0.5
_MAX_ATTEMPTS = 3
_LOOK_UP_INTERVAL_S = 2.0
"""Seconds after which another process's removal of a model that is loaded here is noticed.

To look into the database for each request took two fifths of what the server does for one.
"""

_MAX_LOOKED_UP = 1000


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A request's place in a model that is loaded."""

    model: LiveModel
    ticket: Ticket


class Engine(LoggingConfigurable):
    """Runs requests in models, which it loads as they are asked for."""

    request_timeout_s = Float(
        600,
        help="Seconds that a request may wait and run, all told. 0 is no limit.",
    ).tag(config=True)

    def __init__(self, registry: Registry, devices: Devices | None = None, **kwargs: Any) -> None:
        """Serve the models of `registry` on `devices`, by default those of this machine."""
        super().__init__(**kwargs)
        self.registry = registry
        self.events = EventBus()
        self._looked_up: dict[str, tuple[ModelRecord, float]] = {}
        """Records by name, with the time when the registry was asked."""
        self.pool = ModelPool(registry, self.events, devices or Devices(), parent=self)

    async def generate(
        self, model: str, request: GenerateRequest, caller: Caller
    ) -> AsyncGenerator[StreamEvent]:
        """Run a request for text: first what it waits for, then its text as it comes.

        Closing the iterator cancels the request in the worker.

        Raises:
            NpuError: when it cannot be run, or breaks.
        """
        deadline = self._deadline()
        record = await self._record(model, ModelType.LLM)
        message = Generate(
            id=0,
            sampling=request.sampling,
            messages=request.messages,
            prompts=request.prompts,
            n=request.n,
            echo=request.echo,
            template_kwargs=request.template_kwargs,
            adapter=record.served_adapter,
        )
        async with aclosing(self._enter(record, request.choices, caller, deadline)) as entrance:
            async for event in entrance:
                if not isinstance(event, _Admitted):
                    yield event
                    continue
                live = event.model
                async with aclosing(live.run(message, deadline - time.monotonic())) as steps:
                    async for outputs in steps:
                        if isinstance(outputs[0], Started):
                            yield Running(live.info.device, outputs[0].prompt_tokens)
                        deltas = [output for output in outputs if isinstance(output, Delta)]
                        if deltas:
                            yield Text(deltas)

    async def embed(self, model: str, inputs: list[str | list[int]], caller: Caller) -> Vectors:
        """Embed texts, or token ids of the model's own.

        Raises:
            NpuError: when it cannot be done.
        """
        deadline = self._deadline()
        record = await self._record(model, ModelType.EMBEDDING)
        async with aclosing(self._enter(record, 1, caller, deadline)) as entrance:
            async for event in entrance:
                if not isinstance(event, _Admitted):
                    continue
                live = event.model
                request = Embed(0, inputs)
                async with aclosing(live.run(request, deadline - time.monotonic())) as steps:
                    async for outputs in steps:
                        result = outputs[-1]
                        assert isinstance(result, Embedded)
                        length = live.info.embedding_length or 0
                        device = live.info.device
                        return Vectors(result.vectors, length, result.prompt_tokens, device)
        raise errors.EngineFailed("The engine gave no answer. Send the request again.")

    def _deadline(self) -> float:
        return time.monotonic() + (self.request_timeout_s or float("inf"))

    async def _record(self, model: str, wanted: ModelType) -> ModelRecord:
        """Look a model up and check that it is for this kind of request."""
        record, looked_up_at = self._looked_up.get(model, (None, 0.0))
        now = time.monotonic()
        stale = now - looked_up_at > _LOOK_UP_INTERVAL_S
        if record is None or stale or not self.pool.find(record.loaded.name):
            record = await asyncio.to_thread(self.registry.get, model)
            if len(self._looked_up) >= _MAX_LOOKED_UP:
                self._looked_up.clear()
            self._looked_up[model] = record, now
        if record.type is not wanted:
            right = (
                "/v1/embeddings" if record.type is ModelType.EMBEDDING else "/v1/chat/completions"
            )
            message = f"{record.name} is an {record.type} model. Use it with {right}."
            raise errors.InvalidRequest(message, param="model")
        return record

    async def _enter(
        self, record: ModelRecord, weight: int, caller: Caller, deadline: float
    ) -> AsyncGenerator[LoadingModel | Waiting | _Admitted]:
        """Wait for the model and for a place in it; the place is given up at the end.

        Whoever was in line when the model went away lines up again for the next worker.
        """
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            async for progress in self.pool.until_loaded(record.loaded):
                self._check_deadline(deadline, f"loading {record.name}")
                yield progress
            live = self.pool.get(record.loaded.name)
            try:
                ticket = live.lane.join(caller.name, weight)
            except (errors.ModelUnloaded, errors.WorkerDied):
                if attempt == _MAX_ATTEMPTS:
                    raise
                continue
            try:
                while not await ticket.wait(_PROGRESS_INTERVAL_S):
                    self._check_deadline(deadline, "the waiting line")
                    yield Waiting(ticket.position, live.lane.waiting)
            except (errors.ModelUnloaded, errors.WorkerDied):
                if attempt == _MAX_ATTEMPTS:
                    raise
                continue
            except BaseException:
                ticket.leave()
                raise
            try:
                yield _Admitted(live, ticket)
                return
            finally:
                ticket.leave()

    def _check_deadline(self, deadline: float, where: str) -> None:
        if time.monotonic() > deadline:
            message = (
                f"The limit of {self.request_timeout_s:g} s passed in {where}. Try again later."
            )
            raise errors.DeadlineExceeded(message)

    async def load(
        self,
        name: str,
        *,
        device: str | None = None,
        pin: bool | None = None,
        keep_alive_s: float | None = None,
    ) -> LoadedModel:
        """Load a model, or change the device, pin or keep-alive of one that is loaded.

        Raises:
            NpuError: when it cannot be loaded.
        """
        events = self.load_events(name, device=device, pin=pin, keep_alive_s=keep_alive_s)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, LoadedModel):
                    return event
        raise errors.EngineFailed(f"Loading {name} gave no result. Try again.")

    def load_events(
        self,
        name: str,
        *,
        device: str | None = None,
        pin: bool | None = None,
        keep_alive_s: float | None = None,
    ) -> AsyncGenerator[LoadingModel | LoadedModel]:
        """Load a model and say how far it is; the last event is the loaded model.

        Raises:
            NpuError: when it cannot be loaded.
        """
        return self.pool.load_events(name, device=device, pin=pin, keep_alive_s=keep_alive_s)

    async def prepare_adapters(self, base: str) -> None:
        """Load what runs the adapters of a model, for one that will soon be there.

        Raises:
            NpuError: when it cannot be loaded.
        """
        carrier = await asyncio.to_thread(self.registry.carrier_of, base)
        if carrier is not None:
            async for _progress in self.pool.until_loaded(carrier):
                pass

    async def unload(self, name: str, *, force: bool = False) -> None:
        """Take a model out of memory; requests that run get a grace period unless `force`.

        Raises:
            ModelNotFound: when it is not registered, or not loaded.
        """
        await self.pool.unload(name, force=force)

    def status(self) -> list[LoadedModel]:
        """Describe each model in memory."""
        return self.pool.status()

    async def devices(self) -> list[Device]:
        """List the devices of this machine, with advice for those that cannot be used."""
        return await self.pool.devices.all()

    @property
    def busy(self) -> bool:
        """Whether any request or load is under way."""
        return self.pool.busy

    async def close(self) -> None:
        """End all workers: nothing of ours outlives the server."""
        await self.pool.close()
