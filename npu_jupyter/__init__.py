"""The OpenAI API on this machine's NPU, GPU or CPU, served by Jupyter."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, TypedDict

from npu_jupyter._version import __version__

if TYPE_CHECKING:
    from npu_jupyter.app import NpuApp

__all__ = ["__version__"]


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
