"""What hardware is here, which of it a model goes to, and advice when it cannot be used."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from npu_jupyter.errors import DeviceUnavailable
from npu_jupyter.registry.records import ModelFormat, ModelRecord, ModelType

_PROBE_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """What we know of a kind of device before we look."""

    name: str
    label: str
    single: bool
    """Whether it takes one request at a time."""
    markers: tuple[str, ...]
    """Paths that exist when the hardware is there, driver or not."""
    troubleshoot: str
    """What to do when the hardware is there and OpenVINO does not see it."""


SPECS = {
    spec.name: spec
    for spec in (
        DeviceSpec(
            name="NPU",
            label="Intel NPU",
            single=True,
            markers=("/sys/bus/pci/drivers/intel_vpu/*:*", "/dev/accel/accel*"),
            troubleshoot=(
                "An NPU is in this machine, but OpenVINO cannot use it. On Linux install the "
                "user-space driver (intel-level-zero-npu and intel-driver-compiler-npu of "
                "intel/linux-npu-driver) and add yourself to the group 'render'; on Windows "
                "update the Intel NPU driver. Until then models run on the GPU or the CPU."
            ),
        ),
        DeviceSpec(
            name="GPU",
            label="Intel GPU",
            single=False,
            markers=("/sys/bus/pci/drivers/i915/*:*", "/sys/bus/pci/drivers/xe/*:*"),
            troubleshoot=(
                "An Intel GPU is in this machine, but OpenVINO cannot use it. On Linux install "
                "intel-opencl-icd and add yourself to the group 'render'; on Windows update the "
                "graphics driver. Until then models run on the CPU."
            ),
        ),
        DeviceSpec(name="CPU", label="CPU", single=False, markers=(), troubleshoot=""),
    )
}
PREFERENCE = tuple(SPECS)


@dataclass(frozen=True, slots=True)
class Device:
    """One device as OpenVINO reports it, or as it should but does not."""

    name: str
    """NPU, GPU, GPU.1, CPU: what a load takes as `device`."""
    full_name: str
    available: bool
    driver: str | None = None
    memory_bytes: int | None = None
    capabilities: list[str] = field(default_factory=list)
    advice: str | None = None

    @property
    def spec(self) -> DeviceSpec:
        """Give what we know of this kind of device."""
        return SPECS[kind(self.name)]


def kind(device: str) -> str:
    """Strip the number: GPU.1 is a GPU."""
    return device.split(".", maxsplit=1)[0]


def discover() -> list[Device]:
    """Ask OpenVINO in a process of its own, as a driver may crash; add what it does not see."""
    command = [sys.executable, "-P", "-m", "npu_jupyter.engine.worker.probe"]
    try:
        output = subprocess.run(
            command, capture_output=True, check=True, timeout=_PROBE_TIMEOUT_S
        ).stdout
        found = [Device(**entry) for entry in json.loads(output.splitlines()[-1])]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        found = []
    seen = {kind(device.name) for device in found}
    missing = [_unusable(spec) for spec in SPECS.values() if spec.name not in seen]
    return [*found, *(device for device in missing if device)]


def _unusable(spec: DeviceSpec) -> Device | None:
    """Describe a device whose hardware is there without a driver that works."""
    if not any(_exists(marker) for marker in spec.markers):
        return None
    return Device(spec.name, spec.label, available=False, advice=spec.troubleshoot)


def _exists(pattern: str) -> bool:
    path = Path(pattern)
    return any(path.parent.glob(path.name))


class Devices:
    """The devices of this machine, looked for once."""

    def __init__(self) -> None:
        """Look when first asked."""
        self._found: asyncio.Task[list[Device]] | None = None

    async def all(self) -> list[Device]:
        """List the devices, those that cannot be used too."""
        if self._found is None:
            self._found = asyncio.create_task(asyncio.to_thread(discover))
        devices = await asyncio.shield(self._found)
        if not any(device.available for device in devices):
            self._found = None  # there always is a CPU: the look failed, so look again
        return devices

    async def candidates(self, record: ModelRecord, requested: str | None) -> list[Device]:
        """Give the devices to try for a model, best first.

        OpenVINO's own AUTO never falls back from the NPU, so the order is ours: NPU if the model
        keeps its limits, else GPU, else CPU. A device that was asked for is the only candidate.

        Raises:
            DeviceUnavailable: when the requested device is not there, with what to do.
        """
        devices = await self.all()
        usable = [device for device in devices if device.available]
        if requested:
            return [_requested(requested.upper(), devices, record)]
        fitting = [device for device in usable if _unfit(device, record) is None]
        return sorted(fitting, key=lambda device: PREFERENCE.index(kind(device.name)))


def _requested(name: str, devices: list[Device], record: ModelRecord) -> Device:
    """Find the device that was asked for, or say why it cannot be had."""
    for device in devices:
        # OpenVINO calls a lone GPU "GPU", the first of several "GPU.0"; people say either.
        if name in (device.name, kind(device.name), f"{kind(device.name)}.0"):
            if not device.available:
                raise DeviceUnavailable(str(device.advice), param="device")
            reason = _unfit(device, record)
            if reason:
                raise DeviceUnavailable(reason, param="device")
            return device
    here = ", ".join(device.name for device in devices if device.available)
    message = f"There is no device {name} on this machine. Devices here: {here}."
    raise DeviceUnavailable(message, param="device")


def _unfit(device: Device, record: ModelRecord) -> str | None:
    """Say why a model cannot run on a device; None when it can.

    The NPU's compiler takes OpenVINO IR with symmetric int4 weights (int8 and fp16 models run
    too, more slowly); a GGUF is read by the CPU and GPU pipelines only.
    """
    if kind(device.name) != "NPU":
        return None
    if record.type is not ModelType.LLM:
        return f"{record.name} is an embedding model; these run on CPU and GPU here."
    if record.format is ModelFormat.GGUF:
        return (
            f"{record.name} is a GGUF, which the NPU cannot run. Convert it: "
            f"jupyter npu pull {record.source} --precision int4 --name {record.name}-int4"
        )
    return None
