"""Engines inside the test's own process whose workers have no model in them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from fakes.fake_devices import CPU, FixedDevices
from traitlets.config import Config

from npu_jupyter.engine.devices import Device
from npu_jupyter.engine.engine import Engine
from npu_jupyter.engine.launch import Launcher
from npu_jupyter.registry.store import Registry


class EngineMaker(Protocol):
    """Makes an engine; what its workers do wrong comes first, traits of its pool last."""

    def __call__(
        self,
        worker: dict[str, Any] | None = None,
        *,
        devices: tuple[Device, ...] = (CPU,),
        request_timeout_s: float = 60,
        **settings: Any,
    ) -> AbstractAsyncContextManager[Engine]:
        """Make one."""


def engine_maker(data_dir: Path) -> EngineMaker:
    """Make engines that serve the models of `data_dir` in fake workers."""

    @asynccontextmanager
    async def make(
        worker: dict[str, Any] | None = None,
        *,
        devices: tuple[Device, ...] = (CPU,),
        request_timeout_s: float = 60,
        **settings: Any,
    ) -> AsyncGenerator[Engine]:
        properties = {device.spec.name: worker or {} for device in devices}
        of_launcher = Launcher.class_own_traits(config=True)
        launcher = {key: value for key, value in settings.items() if key in of_launcher}
        config = Config(
            Engine={"request_timeout_s": request_timeout_s},
            ModelPool={key: value for key, value in settings.items() if key not in launcher},
            Launcher={
                "worker_module": "fake_worker",
                "device_properties": properties,
                **launcher,
            },
        )
        registry = Registry(data_dir=str(data_dir))
        engine = Engine(registry, FixedDevices(*devices), config=config)
        try:
            yield engine
        finally:
            await engine.close()
            registry.close()

    return make
