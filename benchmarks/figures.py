"""What a benchmark found: a number, what it should be, and how both are shown."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import psutil

_GIB = 2**30
_LIBRARIES = ("npu-jupyter", "openvino-genai", "jupyter-server", "tornado", "pyzmq")
_COLUMNS = ("what", "measured", "lowest to highest", "n", "target", "")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number and its target."""

    what: str
    measured: float
    target: float
    at_least: bool
    """Whether the target is a lower bound; else it is an upper one."""
    unit: str
    samples: Sequence[float]
    """What `measured` was taken from."""
    details: dict[str, Any] = field(default_factory=dict)
    """Absolute numbers behind the ratio, for the JSON file."""

    @property
    def passed(self) -> bool:
        """Whether the target is met."""
        return self.measured >= self.target if self.at_least else self.measured <= self.target

    def row(self) -> tuple[str, ...]:
        """Give the cells of this figure's line in the table."""
        bound = "≥" if self.at_least else "≤"
        return (
            self.what,
            self._shown(self.measured),
            f"{self._shown(min(self.samples))} to {self._shown(max(self.samples))}",
            str(len(self.samples)),
            f"{bound} {self.target:g}{self._suffix}",
            "met" if self.passed else "missed",
        )

    @property
    def _suffix(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _shown(self, value: float) -> str:
        return f"{value:.3g}{self._suffix}"


def median(what: str, samples: Sequence[float], target: float, **facts: Any) -> Figure:
    """Make a figure of the median of `samples`."""
    return Figure(what, statistics.median(samples), target, samples=samples, **facts)


def table(figures: Sequence[Figure]) -> str:
    """Lay figures out as a Markdown table, aligned to be read in a terminal too."""
    rows = [_COLUMNS, *(figure.row() for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = [" | ".join(cell.ljust(widths[i]) for i, cell in enumerate(row)) for row in rows]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:]))


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "python": platform.python_version(),
        "load_average": psutil.getloadavg(),
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def _processor() -> str:
    """Name the processor: Linux alone has it in a file and not in `platform`."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def save(figures: Sequence[Figure], folder: Path) -> Path:
    """Write figures and machine to a JSON file of this run's own; return its path."""
    now = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{platform.node()}-{now:%Y%m%d-%H%M%S}.json"
    results = [
        {
            "what": figure.what,
            "measured": figure.measured,
            "unit": figure.unit,
            "target": figure.target,
            "at_least": figure.at_least,
            "passed": figure.passed,
            "samples": list(figure.samples),
            "details": figure.details,
        }
        for figure in figures
    ]
    document = {"measured_at": now.isoformat(), "machine": machine(), "figures": results}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)))
    return path
