"""Addresses of OpenAI's API that are not served here."""

from __future__ import annotations

from npu_jupyter.errors import NotFound
from npu_jupyter.handler import NpuHandler


class UnknownHandler(NpuHandler):
    """Answers in OpenAI's envelope, where Jupyter Server would show a web page."""

    route = "/v1/*"

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse, once the caller is known.

        Raises:
            NotFound: always.
        """
        await super().prepare()
        message = (
            f"{self.request.method} {self.request.path} is not served here. What is: /v1/models, "
            "/v1/chat/completions, /v1/completions, /v1/embeddings, /v1/fine_tuning/jobs and "
            "/v1/files."
        )
        raise NotFound(message)
