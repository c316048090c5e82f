"""The OpenAI API, a module for each noun: bytes in, checked request, engine, bytes out."""

from __future__ import annotations

from npu_jupyter.handler import NpuHandler


def routes() -> list[tuple[str, type[NpuHandler]]]:
    """Give the addresses of the API, in the order in which they are tried."""
    from npu_jupyter.v1 import chat, completions, embeddings, health, models, unknown

    return [
        (r"/v1/models", models.ModelsHandler),
        (r"/v1/models/load", models.LoadHandler),
        (r"/v1/models/unload", models.UnloadHandler),
        (r"/v1/models/status", models.StatusHandler),
        (r"/v1/models/(.+)", models.ModelHandler),
        (r"/v1/chat/completions", chat.ChatHandler),
        (r"/v1/completions", completions.CompletionHandler),
        (r"/v1/embeddings", embeddings.EmbeddingHandler),
        (r"/health", health.HealthHandler),
        (r"/v1(?:/.*)?", unknown.UnknownHandler),
    ]
