"""Who may stay in memory: a budget, an estimate for what comes, and who has to go."""

from __future__ import annotations

from collections.abc import Collection

import psutil

from npu_jupyter.engine.model import LiveModel
from npu_jupyter.errors import InsufficientMemory
from npu_jupyter.registry.records import ModelFormat, ModelRecord

_MIB = 2**20
_DEFAULT_BUDGET = 0.8
_RETRY_AFTER_S = 10
_PROCESS_BYTES = 300 * _MIB  # a worker with the engine imported and no model
_WEIGHTS_FACTOR = {
    ModelFormat.OPENVINO: 1.3,  # the weights, and what compiling keeps of them
    ModelFormat.ADAPTER: 1.3,
    ModelFormat.GGUF: 2.5,  # also unpacked to the layout that the CPU computes in
}


def estimate_bytes(record: ModelRecord) -> int:
    """Estimate what a model takes once loaded, before any request."""
    return _PROCESS_BYTES + int(record.size_bytes * _WEIGHTS_FACTOR[record.format])


def free_bytes(live: Collection[LiveModel], budget_mib: int) -> int:
    """Measure what is left of the budget, or of the machine if that is less.

    A budget of 0 MiB is four fifths of the machine's memory.
    """
    machine = psutil.virtual_memory()
    budget = budget_mib * _MIB or int(machine.total * _DEFAULT_BUDGET)
    used = sum(model.memory_bytes for model in live)
    return min(budget - used, int(machine.available))


def evictable(live: Collection[LiveModel]) -> list[LiveModel]:
    """List the models that may go, longest idle first; never one that is busy or pinned."""
    idle = [model for model in live if not model.busy and not model.pinned]
    return sorted(idle, key=lambda model: model.idle_s, reverse=True)


def too_large(
    record: ModelRecord, need: int, free: int, live: Collection[LiveModel]
) -> InsufficientMemory:
    """Say in numbers why a model does not fit, and what would help."""
    message = (
        f"{record.name} needs about {need // _MIB} MiB and {max(free, 0) // _MIB} MiB are free."
    )
    in_use = [model for model in live if model.busy or model.pinned]
    if in_use:
        names = ", ".join(model.record.name for model in in_use)
        message += f" In use or pinned: {names}. Try again when they are idle, or unload one."
    else:
        message += " Use a smaller model or precision, or raise ModelPool.memory_budget_mib."
    error = InsufficientMemory(message, retry_after_s=_RETRY_AFTER_S if in_use else None)
    error.retryable = bool(in_use)
    return error
