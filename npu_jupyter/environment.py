"""What kernels find in their environment, so that ``OpenAI()`` needs no arguments."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join

_VARIABLES = ("OPENAI_BASE_URL", "OPENAI_API_KEY")
_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared


def api_url(server: ServerApp) -> str | None:
    """Give the address of `/v1` for processes on this machine; None on a UNIX socket."""
    if server.sock:
        return None
    scheme = "https" if server.certfile else "http"
    host = _ANY_ADDRESS.get(server.ip, server.ip)
    return f"{scheme}://{host}:{server.port}" + url_path_join(server.base_url, "v1")


def offer(url: str, key: str, environ: MutableMapping[str, str] = os.environ) -> bool:
    """Set what OpenAI's SDKs read, for all kernels that inherit it.

    A user who has set either variable means another service, and keeps it: an address of ours
    with a key of theirs, or the other way round, would be worse than nothing.
    """
    if any(environ.get(name) for name in _VARIABLES):
        return False
    environ.update(dict(zip(_VARIABLES, (url, key), strict=True)))
    return True


def withdraw(url: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Take back what `offer` set."""
    if environ.get(_VARIABLES[0]) == url:
        for name in _VARIABLES:
            environ.pop(name, None)
