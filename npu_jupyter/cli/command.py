"""What our commands have in common: the registry, its configuration, and errors in one line."""

from __future__ import annotations

from jupyter_core.application import JupyterApp
from traitlets import default

from npu_jupyter._version import __version__
from npu_jupyter.errors import NpuError
from npu_jupyter.registry.store import Registry


class NpuCommand(JupyterApp):
    """A subcommand of ``jupyter npu``; a subclass says in `run` what it does."""

    version = __version__
    classes = [Registry]
    aliases = {**JupyterApp.aliases, "data-dir": "Registry.data_dir"}
    flags = dict(JupyterApp.flags)

    @default("config_file_name")
    def _config_file_name_default(self) -> str:
        """Read the file that the server extension reads, so that both use one data directory."""
        return "jupyter_npu_config"

    def start(self) -> None:
        """Run, and say a failure in a line instead of a traceback."""
        super().start()
        try:
            self.run(Registry(parent=self))
        except NpuError as error:
            self.fail(error.message)

    def run(self, registry: Registry) -> None:
        """Do what the command is for."""
        raise NotImplementedError

    def fail(self, message: str) -> None:
        """End with exit code 1 and a line on standard error."""
        self.exit(f"{self.name.replace('-', ' ')}: {message}")
