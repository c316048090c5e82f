"""``GET /health``: whether the server answers at all."""

from __future__ import annotations

import msgspec
from jupyter_server.auth.decorator import allow_unauthenticated

from npu_jupyter._version import __version__
from npu_jupyter.handler import NpuHandler


class HealthHandler(NpuHandler):
    """Answers probes."""

    route = "/health"
    _track_activity = False

    @allow_unauthenticated
    def get(self) -> None:
        """Say that the server is up; loads nothing and wakes nothing."""
        self.finish(msgspec.json.encode({"status": "ok", "version": __version__}))
