"""``python -m npu_jupyter.engine.worker.probe``: print the devices that OpenVINO sees, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import openvino as ov
import psutil

_DRIVER_PROPERTIES = ("NPU_DRIVER_VERSION", "GPU_DRIVER_VERSION")
_MEMORY_PROPERTIES = ("NPU_DEVICE_TOTAL_MEM_SIZE", "GPU_DEVICE_TOTAL_MEM_SIZE")


def describe(core: ov.Core, name: str) -> dict[str, Any]:
    """Collect what a device says of itself."""
    supported = set(core.get_property(name, "SUPPORTED_PROPERTIES"))

    def first(properties: tuple[str, ...]) -> Any:
        values = [core.get_property(name, key) for key in properties if key in supported]
        return values[0] if values else None

    driver, memory = first(_DRIVER_PROPERTIES), first(_MEMORY_PROPERTIES)
    if name == "CPU":
        memory = psutil.virtual_memory().total
    return {
        "name": name,
        "full_name": str(core.get_property(name, "FULL_DEVICE_NAME")).strip(),
        "available": True,
        "driver": None if driver is None else str(driver),
        "memory_bytes": None if memory is None else int(memory),
        "capabilities": [str(c) for c in core.get_property(name, "OPTIMIZATION_CAPABILITIES")],
    }


def main() -> None:
    """Print one line of JSON."""
    core = ov.Core()
    found = [describe(core, name) for name in core.available_devices]
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
