"""Whose jobs those are that are started on this machine itself, or in a kernel of its server."""

from __future__ import annotations

import os

_ALONE = "local"
"""As `NpuHandler.caller` names the one user of a plain Jupyter Server."""


def owner_here() -> str:
    """Name the user whom the server belongs to: a Hub tells it, else there is one."""
    return os.environ.get("JUPYTERHUB_USER") or _ALONE
