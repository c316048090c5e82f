"""Devices that this machine may not have: what the engine knows of them is data."""

from __future__ import annotations

from npu_jupyter.engine.devices import Device, Devices

NPU = Device("NPU", "Intel NPU", available=True)
NPU_WITHOUT_DRIVER = Device("NPU", "Intel NPU", available=False, advice="Install the driver.")
GPU = Device("GPU", "Intel GPU", available=True)
GPU_0 = Device("GPU.0", "Intel integrated GPU", available=True)
GPU_1 = Device("GPU.1", "Intel discrete GPU", available=True)
CPU = Device("CPU", "CPU", available=True)


class FixedDevices(Devices):
    """The devices that it was given."""

    def __init__(self, *devices: Device) -> None:
        super().__init__()
        self._devices = list(devices)

    async def all(self) -> list[Device]:
        """List them."""
        return self._devices
