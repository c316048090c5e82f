"""``jupyter npu devices``."""

from __future__ import annotations

from npu_jupyter.cli.command import NpuCommand
from npu_jupyter.engine.devices import Device, discover
from npu_jupyter.registry.store import Registry

_MIB = 2**20


class DevicesApp(NpuCommand):
    """List the devices that models can run on, with advice for those that cannot be used."""

    name = "jupyter-npu-devices"
    description = __doc__ or ""

    def run(self, registry: Registry) -> None:  # noqa: ARG002 - devices are no models
        """Print a line for each device."""
        devices = discover()
        for device in devices:
            print(_line(device))
        if not any(device.name.startswith("NPU") for device in devices):
            print("NPU    none found: this machine has none, or its kernel driver is missing")


def _line(device: Device) -> str:
    facts = [device.full_name]
    if device.memory_bytes:
        facts.append(f"{device.memory_bytes // _MIB:,} MiB")
    if device.driver:
        facts.append(f"driver {device.driver}")
    if device.advice:
        facts.append(device.advice)
    return f"{device.name:<6} {' · '.join(facts)}"
