"""The models in memory: loaded once however many ask, unloaded when unused or in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import TYPE_CHECKING, Any

from traitlets import Float, Int
from traitlets.config import LoggingConfigurable

from npu_jupyter import errors
from npu_jupyter.engine import memory
from npu_jupyter.engine.devices import Devices, kind
from npu_jupyter.engine.events import EventBus
from npu_jupyter.engine.lane import Lane, LaneLimits
from npu_jupyter.engine.launch import Launcher, check_files
from npu_jupyter.engine.loading import LoadInProgress
from npu_jupyter.engine.model import LiveModel, LoadedModel, ModelStatus
from npu_jupyter.engine.stream import LoadingModel
from npu_jupyter.registry.records import ModelRecord

if TYPE_CHECKING:
    from npu_jupyter.registry.store import Registry

_PROGRESS_INTERVAL_S = 0.5
_FIRST_USE_S = 0.1
"""What those who waited for a load get to begin, before its model counts as idle."""


class ModelPool(LoggingConfigurable):
    """Loads models when they are asked for, and decides which may stay."""

    keep_alive_s = Float(
        1800,
        help="Seconds without a request after which a model is unloaded. 0 keeps it for good.",
    ).tag(config=True)
    memory_budget_mib = Int(
        0,
        help="Memory that all loaded models together may take, in MiB. "
        "0 is four fifths of the machine's.",
    ).tag(config=True)
    unload_grace_s = Float(
        30,
        help="Seconds that running requests get to finish when their model is unloaded. "
        "0 ends them at once.",
    ).tag(config=True)
    max_waiting = Int(
        1024,
        help="Requests that may wait for one model; the next gets 503. 0 is no limit.",
    ).tag(config=True)
    max_waiting_per_caller = Int(
        256,
        help="Requests of one caller that may wait for one model; his next gets 429. "
        "0 is no limit.",
    ).tag(config=True)

    def __init__(
        self, registry: Registry, events: EventBus, devices: Devices, **kwargs: Any
    ) -> None:
        """Hold no model yet."""
        super().__init__(**kwargs)
        self.registry = registry
        self.devices = devices
        self.launcher = Launcher(registry, devices, parent=self)
        self._events = events
        self._live: dict[str, LiveModel] = {}
        self._leaving: set[LiveModel] = set()
        self._loads: dict[str, LoadInProgress] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Lock()
        self._states: dict[str, ModelStatus] = {}
        """How models that are not loaded came to be so."""
        self.failures: dict[str, str] = {}
        """Why the last load of a model failed."""

    def get(self, name: str) -> LiveModel:
        """Give a model that is in memory."""
        return self._live[name]

    def find(self, name: str) -> LiveModel | None:
        """Give a model if it is in memory."""
        return self._live.get(name)

    async def load_events(
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
        record = (await asyncio.to_thread(self.registry.get, name)).loaded
        while True:
            already_loaded = record.name in self._live
            async for progress in self.until_loaded(record, device):
                yield progress
            live = self._live[record.name]
            if not device or _same_device(live.info.device, device):
                break
            await self.devices.candidates(record, device)  # refuse before anything is unloaded
            if self._live.get(record.name) is live:
                await self._unload(live, ModelStatus.REGISTERED)
        if pin is not None:
            live.pinned = pin
        if keep_alive_s not in (None, live.keep_alive_s):
            live.keep_alive_s = keep_alive_s
            self._spawn(self._expire(live))
        yield live.describe(already_loaded=already_loaded)

    async def until_loaded(
        self, record: ModelRecord, device: str | None = None
    ) -> AsyncGenerator[LoadingModel]:
        """Start the load unless one is running, and report it until the model is there."""
        while record.name not in self._live:
            load = self._loads.get(record.name) or self._start_load(record, device)
            yield load.progress()
            while not load.task.done():
                await asyncio.wait([load.task], timeout=_PROGRESS_INTERVAL_S)
                if not load.task.done():
                    yield load.progress()
            if load.task.cancelled():
                message = f"{record.name} was unloaded while it was loading. Send it again."
                raise errors.ModelUnloaded(message)
            live = load.task.result()
            if isinstance(live.lane.closed, errors.WorkerDied):
                raise live.lane.closed  # loading it again and again would not end

    def _start_load(self, record: ModelRecord, device: str | None) -> LoadInProgress:
        load = LoadInProgress(record, self._publish_stage)
        self._loads[record.name] = load
        load.task = asyncio.create_task(self._load(load, device))
        load.task.add_done_callback(lambda task: self._load_ended(load, task))
        self._publish_stage(load)
        return load

    def _publish_stage(self, load: LoadInProgress) -> None:
        progress = load.progress()
        self._events.publish(
            "model.loading",
            model=load.record.name,
            device=load.device,
            stage=progress.stage,
            percent=progress.percent,
            eta_s=progress.eta_s,
        )

    def _load_ended(self, load: LoadInProgress, task: asyncio.Task[LiveModel]) -> None:
        del self._loads[load.record.name]
        name = load.record.name
        if task.cancelled():
            self._events.publish("model.unloaded", model=name)
            return
        error = task.exception()
        if error is None:
            live = task.result()
            self._events.publish("model.loaded", model=name, device=live.info.device)
            return
        self._states[name] = ModelStatus.FAILED
        self.failures[name] = str(error)
        self._events.publish("model.failed", model=name, message=str(error))

    async def _load(self, load: LoadInProgress, requested: str | None) -> LiveModel:
        """Find room for the model, and have its worker started."""
        record = load.record
        check_files(record)
        async with self._room:  # one at a time, or two loads would take the same room
            await self._make_room(load)
        runner, info = await self.launcher.start(load, requested)
        limits = LaneLimits(info.max_running, self.max_waiting, self.max_waiting_per_caller)
        live = LiveModel(
            record, runner, Lane(limits), info, keep_alive_s=self.keep_alive_s, pinned=False
        )
        runner.on_exit = lambda: self._worker_died(live)
        self._live[record.name] = live
        self._states.pop(record.name, None)
        self.failures.pop(record.name, None)
        self._spawn(self._expire(live))
        self._spawn(self._remember(load))
        return live

    async def _remember(self, load: LoadInProgress) -> None:
        """Keep how long the stages took, for the next estimate."""
        arguments = (load.record.id, load.place, load.stage_s)
        try:
            await asyncio.to_thread(self.registry.record_load, *arguments)
        except Exception:  # an estimate is not worth a model that is ready
            self.log.warning("The times of a load cannot be kept.", exc_info=True)

    async def _make_room(self, load: LoadInProgress) -> None:
        """Unload what nobody uses, longest idle first, until the model fits.

        Raises:
            InsufficientMemory: when what is busy or pinned leaves too little.
        """
        record = load.record
        need = memory.estimate_bytes(record)
        while need > (free := self._free_bytes()):
            victims = memory.evictable(self._live.values())
            if need > free + sum(victim.memory_bytes for victim in victims):
                if not await self._other_load_ended():
                    raise memory.too_large(record, need, free, self._live.values())
                continue
            self.log.info("Unloading %s to make room for %s.", victims[0].record.name, record.name)
            await self._unload(victims[0], ModelStatus.SLEEPING)
        load.reserved_bytes = need

    async def _other_load_ended(self) -> bool:
        """Wait for a load that has its room already; False when there is none."""
        others = [load.task for load in self._loads.values() if load.reserved_bytes]
        if not others:
            return False
        await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(_FIRST_USE_S)
        return True

    def _free_bytes(self) -> int:
        """Measure what is left, without what loads under way will take."""
        reserved = sum(load.reserved_bytes for load in self._loads.values())
        return memory.free_bytes(self._live.values(), self.memory_budget_mib) - reserved

    async def unload(self, name: str, *, force: bool = False) -> None:
        """Take a model out of memory; requests that run get a grace period unless `force`.

        Raises:
            ModelNotFound: when it is not registered, or not loaded.
        """
        record = await self._to_unload(name)
        load = self._loads.get(record.name)
        if load:
            load.task.cancel()
            await asyncio.wait([load.task])
            return
        live = self._live.get(record.name)
        leaving = [live for live in self._leaving if live.record.name == record.name]
        if live:
            await self._unload(live, ModelStatus.REGISTERED, force=force)
        elif leaving and force:
            await asyncio.gather(*(live.runner.stop() for live in leaving))
        else:
            raise errors.ModelNotFound(f"{record.name} is not loaded.", param="name")

    async def _to_unload(self, name: str) -> ModelRecord:
        """Find what to unload; what is listed as loaded may have a name that is not registered."""
        if name in self._live:
            return self._live[name].record
        return (await asyncio.to_thread(self.registry.get, name)).loaded

    async def _unload(self, live: LiveModel, state: ModelStatus, *, force: bool = False) -> None:
        name = live.record.name
        live.status = ModelStatus.UNLOADING
        live.lane.close(errors.ModelUnloaded(f"{name} was unloaded. Send the request again."))
        # From here on a new request starts a new load beside the worker that is leaving.
        self._forget(live, state)
        self._leaving.add(live)
        # Shielded: who does not wait for the end must not leave a worker behind.
        await asyncio.shield(self._spawn(self._end(live, 0 if force else self.unload_grace_s)))

    async def _end(self, live: LiveModel, grace_s: float) -> None:
        """Let the requests of a forgotten model finish, and end its worker."""
        await live.lane.drain(grace_s)
        await live.runner.stop()
        self._leaving.discard(live)
        self._events.publish("model.unloaded", model=live.record.name)

    def _forget(self, live: LiveModel, state: ModelStatus) -> None:
        if self._live.get(live.record.name) is live:
            del self._live[live.record.name]
            self._states[live.record.name] = state

    def _worker_died(self, live: LiveModel) -> None:
        """Give the model up; the next request loads it again."""
        name = live.record.name
        live.lane.close(errors.WorkerDied(f"The process that ran {name} ended. Send it again."))
        self._forget(live, ModelStatus.REGISTERED)
        self._events.publish("model.failed", model=name, message=f"The process of {name} ended.")

    async def _expire(self, live: LiveModel) -> None:
        """Unload a model when its keep-alive has passed without a request."""
        keep_alive_s = live.keep_alive_s
        while keep_alive_s and self._live.get(live.record.name) is live:
            if live.keep_alive_s != keep_alive_s:
                return  # another task watches the new limit
            left = keep_alive_s - live.idle_s
            if left <= 0 and not live.pinned:
                self.log.info("Unloading %s: unused for %g s.", live.record.name, keep_alive_s)
                await self._unload(live, ModelStatus.SLEEPING)
                return
            await asyncio.sleep(left if left > 0 else keep_alive_s)

    def status(self) -> list[LoadedModel]:
        """Describe each model in memory."""
        return [live.describe() for live in (*self._live.values(), *self._leaving)]

    def model_status(self, name: str) -> tuple[ModelStatus, str | None]:
        """Say where a registered model is, and on which device."""
        live = self._live.get(name)
        if live:
            return live.status, live.info.device
        if any(live.record.name == name for live in self._leaving):
            return ModelStatus.UNLOADING, None
        load = self._loads.get(name)
        if load:
            return ModelStatus.LOADING, load.device or None
        return self._states.get(name, ModelStatus.REGISTERED), None

    def loading(self, name: str) -> LoadingModel | None:
        """Say how far a load is; None when there is none."""
        load = self._loads.get(name)
        return load.progress() if load else None

    @property
    def busy(self) -> bool:
        """Whether any request or load is under way."""
        return bool(self._loads) or any(live.busy for live in self._live.values())

    async def close(self) -> None:
        """End all workers: nothing of ours outlives the server."""
        loads = [load.task for load in self._loads.values()]
        for task in (*loads, *self._tasks):
            task.cancel()
        await asyncio.gather(*loads, *self._tasks, return_exceptions=True)
        lives = [*self._live.values(), *self._leaving]
        for live in lives:
            live.lane.close(errors.ModelUnloaded("The server is stopping."))
        self._live.clear()
        await asyncio.gather(*(live.runner.stop() for live in lives))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _same_device(loaded: str, asked: str) -> bool:
    return asked.upper() in (loaded, f"{loaded}.0", kind(loaded))
