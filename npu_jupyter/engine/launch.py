"""Starts the worker of a model, on the device that suits it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Dict, Int, List, Unicode
from traitlets.config import LoggingConfigurable

from npu_jupyter import errors
from npu_jupyter.engine.devices import Device, Devices, kind
from npu_jupyter.engine.loading import LoadInProgress
from npu_jupyter.engine.messages import Load, Loaded
from npu_jupyter.engine.runner import Runner
from npu_jupyter.registry.records import ModelRecord

if TYPE_CHECKING:
    from npu_jupyter.registry.store import Registry


class Launcher(LoggingConfigurable):
    """Chooses a device for a model and runs a worker process there."""

    max_running = Int(
        64,
        help="Sequences that one model generates at once on CPU or GPU; the NPU takes one. "
        "At least 1.",
    ).tag(config=True)
    max_batched_tokens = Int(
        256,
        help="Tokens of prompts that one step of the engine reads. Smaller makes answers of "
        "others stall less behind a long prompt, larger reads prompts faster. At least 1.",
    ).tag(config=True)
    kv_cache_gib = Int(
        0,
        help="Memory of each model's KV cache in GiB. 0 lets it grow with the requests.",
    ).tag(config=True)
    npu_max_prompt_length = Int(
        1024,
        help="Tokens of the longest prompt on the NPU, fixed when a model is compiled. At least 1.",
    ).tag(config=True)
    npu_min_response_length = Int(
        512,
        help="Tokens of answer for which the NPU always has room, fixed when a model is "
        "compiled. At least 1.",
    ).tag(config=True)
    single_request_devices = List(
        Unicode(),
        ["NPU"],
        help="Kinds of device on which a model answers one request at a time.",
    ).tag(config=True)
    device_properties = Dict(
        help="OpenVINO properties by kind of device, such as "
        '{"CPU": {"INFERENCE_NUM_THREADS": 4}}. Empty leaves OpenVINO\'s defaults.',
    ).tag(config=True)
    worker_module = Unicode(
        "npu_jupyter.engine.worker",
        help="Python module that runs as the worker process of each loaded model.",
    ).tag(config=True)

    def __init__(self, registry: Registry, devices: Devices, **kwargs: Any) -> None:
        """Start workers for models of `registry` on `devices`."""
        super().__init__(**kwargs)
        self._registry = registry
        self._devices = devices

    async def start(self, load: LoadInProgress, requested: str | None) -> tuple[Runner, Loaded]:
        """Start a worker; when nobody asked for a device, one that fails leaves it to the next.

        Raises:
            DeviceUnavailable: when the requested device is not there or cannot run the model.
            LoadFailed: when the model cannot be loaded.
        """
        candidates = await self._devices.candidates(load.record, requested)
        for device in candidates:
            try:
                return await self._start_on(load, device)
            except errors.LoadFailed as error:
                if device is candidates[-1]:
                    raise
                self.log.warning("%s: %s Trying the next device.", device.name, error)
        raise errors.LoadFailed(f"No device of this machine can run {load.record.name}.")

    async def _start_on(self, load: LoadInProgress, device: Device) -> tuple[Runner, Loaded]:
        record = load.record
        load.device = device.name
        load.expected_s = await asyncio.to_thread(
            self._registry.expected_load, record.id, load.place
        )
        runner = Runner(
            self._message(record, device.name),
            module=self.worker_module,
            log_path=Path(self._registry.data_dir) / "logs" / f"worker-{_slug(record)}.log",
            log=self.log,
        )
        runner.on_stage = load.enter
        try:
            info = await runner.start()
        except BaseException as error:  # a cancelled load must leave no process behind either
            await asyncio.shield(runner.stop())
            if isinstance(error, errors.LoadFailed):
                raise _with_advice(error, record, device) from error
            raise
        load.finish()
        return runner, info

    def _message(self, record: ModelRecord, device: str) -> Load:
        """Say what to load, where and how."""
        single = kind(device) in self.single_request_devices
        cache_dir = Path(self._registry.data_dir) / "compiled" / _slug(record)
        properties = {"CACHE_DIR": str(cache_dir)} if kind(device) != "CPU" else {}
        max_prompt_length = None
        context_length = record.context_length
        if kind(device) == "NPU":
            max_prompt_length = self.npu_max_prompt_length
            context_length = max_prompt_length + self.npu_min_response_length
            properties["MAX_PROMPT_LEN"] = max_prompt_length  # type: ignore[assignment]
            properties["MIN_RESPONSE_LEN"] = self.npu_min_response_length  # type: ignore[assignment]
        properties |= self.device_properties.get(kind(device), {})
        return Load(
            name=record.name,
            type=record.type,
            path=str(record.path),
            device=device,
            properties=properties,
            context_length=context_length,
            single=single,
            max_prompt_length=max_prompt_length,
            max_running=self.max_running,
            kv_cache_gib=self.kv_cache_gib,
            max_batched_tokens=self.max_batched_tokens,
            adapters=record.takes_adapters,
            prefix_caching=not record.takes_adapters,
        )


def _slug(record: ModelRecord) -> str:
    return f"{record.id}-adapters" if record.takes_adapters else str(record.id)


def check_files(record: ModelRecord) -> None:
    """Look whether a model's files are there, before anything is unloaded for it.

    Raises:
        LoadFailed: when they are gone.
    """
    if not record.path.exists():
        message = f"The files of {record.name} are gone from {record.path}. {_renewal(record)}"
        raise errors.LoadFailed(message)


def _with_advice(
    error: errors.LoadFailed, record: ModelRecord, device: Device
) -> errors.LoadFailed:
    """Say which model failed where, and how to mend it."""
    reason = error.message.rstrip(".!")
    message = (
        f"{record.name} cannot be loaded on {device.name}: {reason}. If its files are damaged: "
        f"{_renewal(record)}"
    )
    return errors.LoadFailed(message)


def _renewal(record: ModelRecord) -> str:
    return (
        f"Remove it and pull it again: jupyter npu remove {record.name}; "
        f"jupyter npu pull {record.source} --name {record.name}"
    )
