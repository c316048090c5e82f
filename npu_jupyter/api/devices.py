"""``GET /api/npu/devices``: what this machine can run models on."""

from __future__ import annotations

from dataclasses import asdict

import msgspec

from npu_jupyter.access import allowed
from npu_jupyter.handler import NpuHandler


class DevicesHandler(NpuHandler):
    """Lists devices."""

    route = "/api/npu/devices"
    _track_activity = False

    @allowed("read", "npu:models")
    async def get(self) -> None:
        """List devices, with advice for those that are there and cannot be used."""
        devices = [asdict(device) for device in await self.engine.devices()]
        self.finish(msgspec.json.encode({"devices": devices}))
