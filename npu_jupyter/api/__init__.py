"""What OpenAI's API has no words for: bringing models here, devices, and the engine's events."""

from __future__ import annotations

from npu_jupyter.handler import NpuHandler


def routes() -> list[tuple[str, type[NpuHandler]]]:
    """Give the addresses below ``/api/npu``."""
    from npu_jupyter.api import datasets, devices, events, models

    return [
        (r"/api/npu/models", models.ModelsHandler),
        (r"/api/npu/models/(.+)", models.ModelHandler),
        (r"/api/npu/pulls", models.PullsHandler),
        (r"/api/npu/pulls/(\d{1,9})", models.PullHandler),
        (r"/api/npu/datasets", datasets.DatasetsHandler),
        (r"/api/npu/datasets/check", datasets.CheckHandler),
        (r"/api/npu/datasets/([^/]+)", datasets.DatasetHandler),
        (r"/api/npu/devices", devices.DevicesHandler),
        (r"/api/npu/events", events.EventsHandler),
    ]
