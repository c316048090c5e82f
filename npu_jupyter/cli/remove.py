"""``jupyter npu remove``: forget models and delete their files."""

from __future__ import annotations

from jupyter_core.application import JupyterApp

from npu_jupyter._version import __version__
from npu_jupyter.errors import NpuError
from npu_jupyter.registry.store import Registry


class RemoveApp(JupyterApp):
    """Remove models by name, with the files that were taken in for them.

    A model that was registered in place keeps its files.
    """

    name = "jupyter-npu-remove"
    version = __version__
    description = __doc__ or ""
    classes = [Registry]
    aliases = {"data-dir": "Registry.data_dir"}

    def start(self) -> None:
        """Remove each model that the command line names, until one cannot be."""
        super().start()
        if not self.extra_args:
            self.exit("jupyter npu remove: name a model. See: jupyter npu models")
        registry = Registry(parent=self)
        for name in self.extra_args:
            try:
                registry.remove(name)
            except NpuError as error:
                self.exit(f"jupyter npu remove: {error.message}")
            print(f"{name} is removed.")
