"""``jupyter npu devices``."""

from __future__ import annotations

from jupyter_core.application import JupyterApp

from npu_jupyter._version import __version__
from npu_jupyter.engine.devices import Device, discover

_MIB = 2**20


class DevicesApp(JupyterApp):
    """List the devices that models can run on, with advice for those that cannot be used."""

    name = "jupyter-npu-devices"
    version = __version__
    description = __doc__ or ""

    def start(self) -> None:
        """Print a line for each device."""
        super().start()
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
