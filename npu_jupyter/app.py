"""The extension: configuration, start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from datetime import UTC, datetime

from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from traitlets import Bool, Enum, Int, List, Unicode, default

from npu_jupyter import api, environment, finetune, v1
from npu_jupyter._version import __version__
from npu_jupyter.api.pulls import Pulls
from npu_jupyter.engine.engine import Engine
from npu_jupyter.engine.launch import Launcher
from npu_jupyter.engine.pool import ModelPool
from npu_jupyter.finetune.datasets.library import Datasets
from npu_jupyter.finetune.jobs import Jobs
from npu_jupyter.finetune.supervisor import Supervisor
from npu_jupyter.keys import KeyRing
from npu_jupyter.registry.store import Registry
from npu_jupyter.service import NpuServer, serves_notebooks

_ACTIVITY_INTERVAL_S = 60
_MIB = 2**20


class NpuApp(ExtensionApp):
    """The OpenAI API on this machine's NPU, GPU or CPU."""

    name = "npu"
    version = __version__
    description = __doc__ or ""
    extension_url = "/v1/models"
    load_other_extensions = False
    serverapp_class = NpuServer
    serverapp_config = {"open_browser": False}
    classes = [NpuServer, Engine, ModelPool, Launcher, Registry, Datasets, Supervisor]
    subcommands = {  # named, as a server has no use for what they import
        "pull": (
            "npu_jupyter.cli.pull.PullApp",
            "Import a model: fetch it, convert it if need be.",
        ),
        "models": ("npu_jupyter.cli.models.ModelsApp", "List the registered models."),
        "remove": ("npu_jupyter.cli.remove.RemoveApp", "Remove models by name, with their files."),
        "devices": (
            "npu_jupyter.cli.devices.DevicesApp",
            "List the devices that models can run on.",
        ),
        "finetune": (
            "npu_jupyter.cli.finetune.FinetuneApp",
            "Fine-tune a model on a dataset; watch, stop and resume such jobs.",
        ),
        "keys": ("npu_jupyter.cli.keys.KeysApp", "List, make and revoke API keys."),
        "demo": ("npu_jupyter.cli.demo.DemoApp", "Pull two small models and open the quickstart."),
    }
    aliases = {"port": "ServerApp.port", "ip": "ServerApp.ip", "data-dir": "Registry.data_dir"}

    kernel_environment = Bool(
        True,
        help="Whether kernels get OPENAI_BASE_URL and OPENAI_API_KEY, unless either is set "
        "already, so that OpenAI() finds this server.",
    ).tag(config=True)
    max_body_bytes = Int(
        32 * _MIB,
        help="Size of the largest request body, in bytes. 0 is no limit of ours; "
        "ServerApp.max_body_size still holds.",
    ).tag(config=True)
    token_input = Enum(
        ["tiktoken", "model"],
        "tiktoken",
        help="What token ids in an embeddings request are: 'tiktoken' reads them as LangChain "
        "sends them (cl100k_base), 'model' as ids of the model's own tokenizer.",
    ).tag(config=True)
    source_dirs = List(
        Unicode(),
        help="Folders from which models may be added over HTTP. Default: the folder that the "
        "server shows; none for the bare service. The command line may read all.",
    ).tag(config=True)

    @default("source_dirs")
    def _source_dirs_default(self) -> list[str]:
        server = self._server
        return [server.root_dir] if serves_notebooks(server) else []

    @property
    def _server(self) -> ServerApp:
        assert self.serverapp is not None
        return self.serverapp

    def initialize_settings(self) -> None:
        """Make the engine; it costs nothing until the first request."""
        self.registry = Registry(parent=self)
        self.engine = Engine(self.registry, parent=self)
        self.keys = KeyRing(self.registry)
        self.pulls = Pulls(self.registry, self.engine.events, self.log)
        self.datasets = Datasets(self.registry.root, parent=self)
        self.jobs = Jobs(
            self.registry,
            lambda: self.engine.busy,
            self.engine.prepare_adapters,
            parent=self,
        )
        self._keeping_awake: asyncio.Task[None] | None = None

    def initialize_handlers(self) -> None:
        """Add our addresses."""
        self.handlers.extend([*v1.routes(), *api.routes(), *finetune.routes()])

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        """Tell kernels where we are, and keep the server awake while there is work."""
        self._url = environment.api_url(serverapp)
        if self._url and self.kernel_environment and serves_notebooks(serverapp):
            environment.offer(self._url, self.keys.issue_for_kernels("kernels"))
        self._keeping_awake = asyncio.create_task(self._keep_awake(serverapp))
        self.jobs.supervisor.start()
        # What is there now stays as long as the server. Without this the next full collection,
        # which our first imports bring on, looks through all of it: the loop stalls for 0.15 s.
        gc.freeze()

    async def _keep_awake(self, serverapp: ServerApp) -> None:
        """Count work as activity, or an idle culler would end the server in the middle of it."""
        while True:
            await asyncio.sleep(_ACTIVITY_INTERVAL_S)
            if self.current_activity():
                serverapp.web_app.settings["last_activity_times"][__package__] = datetime.now(UTC)

    def current_activity(self) -> dict[str, bool] | None:
        """Tell Jupyter Server whether it may shut down for lack of activity."""
        work = {
            "engine": self.engine.busy,
            "imports": self.pulls.busy,
            "fine-tuning": self.jobs.supervisor.busy,
        }
        return work if any(work.values()) else None

    async def stop_extension(self) -> None:
        """End all workers; trainers go on by themselves."""
        if self._url:
            environment.withdraw(self._url)
        if self._keeping_awake:
            self._keeping_awake.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping_awake
        await self.jobs.supervisor.close()
        await self.pulls.close()
        await self.engine.close()


main = NpuApp.launch_instance
