"""The OpenAI API on this machine's NPU, GPU or CPU, served by Jupyter."""

from __future__ import annotations

import gc
import importlib
from typing import TYPE_CHECKING, Any, TypedDict

from npu_jupyter import accessors
from npu_jupyter._version import __version__

if TYPE_CHECKING:
    from npu_jupyter.app import NpuApp
    from npu_jupyter.client import (
        AsyncClient,
        Client,
        async_openai,
        connect,
        connect_async,
        current,
        openai,
    )
    from npu_jupyter.widgets import Chat, Compare, FineTune, Models, Monitor

__all__ = [
    "AsyncClient",
    "Chat",
    "Client",
    "Compare",
    "FineTune",
    "Models",
    "Monitor",
    "__version__",
    "async_openai",
    "connect",
    "connect_async",
    "current",
    "openai",
]

_LAZY = {
    "AsyncClient": "npu_jupyter.client",
    "Chat": "npu_jupyter.widgets",
    "Client": "npu_jupyter.client",
    "Compare": "npu_jupyter.widgets",
    "FineTune": "npu_jupyter.widgets",
    "Models": "npu_jupyter.widgets",
    "Monitor": "npu_jupyter.widgets",
    "async_openai": "npu_jupyter.client",
    "connect": "npu_jupyter.client",
    "connect_async": "npu_jupyter.client",
    "current": "npu_jupyter.client",
    "load_ipython_extension": "npu_jupyter.client.magics",
    "openai": "npu_jupyter.client",
}
"""Where a name is: this package is imported by every Jupyter Server too, at each start."""


accessors.register_when_imported()


def __getattr__(name: str) -> Any:
    """Import what a notebook asks for, when it does."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Complete the names that are not imported yet too."""
    return sorted({*globals(), *_LAZY})


class _ServerExtensionPoint(TypedDict):
    module: str
    app: type[NpuApp]


def _jupyter_server_extension_points() -> list[_ServerExtensionPoint]:
    """Name the application that Jupyter Server runs as an extension."""
    # Our imports would bring on a full collection of all that the server has loaded, and that
    # stays anyway: half of what we would add to its start.
    gc.freeze()
    from npu_jupyter.app import NpuApp

    return [{"module": "npu_jupyter", "app": NpuApp}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Name the built panel and the folder in which JupyterLab looks for it."""
    return [{"src": "labextension", "dest": "npu-jupyter"}]
