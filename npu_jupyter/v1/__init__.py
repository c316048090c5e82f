"""The OpenAI API, a module for each noun: bytes in, checked request, engine, bytes out."""

from __future__ import annotations

from npu_jupyter.handler import NpuHandler


def routes() -> list[tuple[str, type[NpuHandler]]]:
    """Give the addresses of the API, in the order in which they are tried."""
    from npu_jupyter.v1 import (
        chat,
        completions,
        embeddings,
        files,
        fine_tuning,
        health,
        models,
        unknown,
    )

    return [
        (r"/v1/models", models.ModelsHandler),
        (r"/v1/models/load", models.LoadHandler),
        (r"/v1/models/unload", models.UnloadHandler),
        (r"/v1/models/status", models.StatusHandler),
        (r"/v1/models/(.+)", models.ModelHandler),
        (r"/v1/chat/completions", chat.ChatHandler),
        (r"/v1/completions", completions.CompletionHandler),
        (r"/v1/embeddings", embeddings.EmbeddingHandler),
        (r"/v1/files", files.FilesHandler),
        (r"/v1/files/([^/]+)", files.OneFileHandler),
        (r"/v1/files/([^/]+)/content", files.ContentHandler),
        (r"/v1/fine_tuning/jobs", fine_tuning.FineTuningJobsHandler),
        (r"/v1/fine_tuning/jobs/([^/]+)", fine_tuning.FineTuningJobHandler),
        (r"/v1/fine_tuning/jobs/([^/]+)/cancel", fine_tuning.CancelHandler),
        (r"/v1/fine_tuning/jobs/([^/]+)/pause", fine_tuning.PauseHandler),
        (r"/v1/fine_tuning/jobs/([^/]+)/resume", fine_tuning.ResumeHandler),
        (r"/v1/fine_tuning/jobs/([^/]+)/events", fine_tuning.EventsHandler),
        (r"/v1/fine_tuning/jobs/([^/]+)/checkpoints", fine_tuning.CheckpointsHandler),
        (r"/health", health.HealthHandler),
        (r"/v1(?:/.*)?", unknown.UnknownHandler),
    ]
