"""Why a trainer ended without a word in the database, told as truly as can be known."""

from __future__ import annotations

import psutil

from npu_jupyter.engine.process import signal_name

_GB = 1e9
_SHOWN_CHARACTERS = 300
_KILLED = {-9, 137}
_NO_MEMORY = ("memoryerror", "out of memory", "can't allocate memory", "outofmemory", "bad_alloc")
_NO_SPACE = ("no space left on device", "disk full", "disk is full", "disk quota exceeded")


def explain(exit_code: int | None, last_words: str) -> str:
    """Say in a sentence or two why a trainer ended, and what to do.

    An `exit_code` of None is one that nobody knows: the server that was its parent is gone.
    """
    lines = [line.strip() for line in last_words.splitlines() if line.strip()]
    end = lines[-1][:_SHOWN_CHARACTERS] if lines else ""
    words = end.lower()
    if any(phrase in words for phrase in _NO_MEMORY):
        return f"The trainer ran out of memory: {end}. {_memory_advice()}"
    if any(phrase in words for phrase in _NO_SPACE):
        return f"The trainer filled the disk: {end}. Free some space, then resume the job."
    if exit_code in _KILLED:
        return (
            "The trainer was killed; if nobody did that, the machine ran out of memory. "
            + _memory_advice()
        )
    said = f" Its last words: {end}" if end else " It wrote nothing before."
    if exit_code is None:
        return (
            "The trainer ended while no server watched it: it was killed, ran out of memory, or "
            f"the machine was restarted.{said}"
        )
    name = signal_name(exit_code)
    how = f"was ended by {name}" if name else f"ended with exit code {exit_code}"
    return f"The trainer {how}.{said}"


def _memory_advice() -> str:
    memory = psutil.virtual_memory()
    return (
        f"The machine has {memory.total / _GB:.1f} GB, of which {memory.available / _GB:.1f} GB "
        "are free now. A smaller batch_size or max_length needs less, and so does quantize_base."
    )
