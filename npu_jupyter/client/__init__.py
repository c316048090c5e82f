"""What a notebook imports: a server's models, devices and jobs, over HTTP alone."""

from __future__ import annotations

from npu_jupyter.client.async_client import AsyncClient
from npu_jupyter.client.client import Client
from npu_jupyter.client.connecting import async_openai, connect, connect_async, current, openai

__all__ = [
    "AsyncClient",
    "Client",
    "async_openai",
    "connect",
    "connect_async",
    "current",
    "openai",
]
