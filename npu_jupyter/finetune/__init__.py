"""Fine-tuning: jobs that outlive what happens to them, and end in a model that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npu_jupyter.handler import NpuHandler


def routes() -> list[tuple[str, type[NpuHandler]]]:
    """Give the addresses below ``/api/finetune``."""
    from npu_jupyter.finetune import handlers

    return [
        (r"/api/finetune/start", handlers.StartHandler),
        (r"/api/finetune/jobs", handlers.JobsHandler),
        (r"/api/finetune/jobs/(\d{1,9})", handlers.RemovalHandler),
        (r"/api/finetune/status/(\d{1,9})", handlers.StatusHandler),
        (r"/api/finetune/stop/(\d{1,9})", handlers.StopHandler),
        (r"/api/finetune/resume/(\d{1,9})", handlers.ResumeHandler),
        (r"/api/finetune/export", handlers.ExportHandler),
        (r"/api/finetune/events/(\d{1,9})", handlers.JobEventsHandler),
    ]
