"""``jupyter npu remove``: forget models and delete their files."""

from __future__ import annotations

from npu_jupyter.cli.command import NpuCommand
from npu_jupyter.registry.store import Registry


class RemoveApp(NpuCommand):
    """Remove models by name, with the files that were taken in for them.

    A model that was registered in place keeps its files.
    """

    name = "jupyter-npu-remove"
    description = __doc__ or ""

    def run(self, registry: Registry) -> None:
        """Remove each model that the command line names, until one cannot be."""
        if not self.extra_args:
            self.fail("name a model. See: jupyter npu models")
        for name in self.extra_args:
            registry.remove(name)
            print(f"{name} is removed.")
