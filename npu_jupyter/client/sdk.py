"""OpenAI's own clients, configured for a server of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npu_jupyter.client import interrupts
from npu_jupyter.errors import MissingExtra

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

_NO_KEY = "none"
"""What is sent to a server that asks for none: the SDK wants a text."""


def sync_openai(url: str, key: str | None, options: dict[str, Any]) -> OpenAI:
    """Configure `openai.OpenAI`.

    Raises:
        MissingExtra: the package openai is not installed.
    """
    openai = _module("npu.openai()")
    if "http_client" not in options:
        hooks = {"response": [interrupts.follow]}
        options = {"http_client": openai.DefaultHttpxClient(event_hooks=hooks)} | options
    client: OpenAI = openai.OpenAI(**_given(url, key) | options)
    return client


def async_openai(url: str, key: str | None, options: dict[str, Any]) -> AsyncOpenAI:
    """Configure `openai.AsyncOpenAI`.

    Raises:
        MissingExtra: the package openai is not installed.
    """
    openai = _module("npu.async_openai()")
    if "http_client" not in options:
        hooks = {"response": [interrupts.follow_async]}
        options = {"http_client": openai.DefaultAsyncHttpxClient(event_hooks=hooks)} | options
    client: AsyncOpenAI = openai.AsyncOpenAI(**_given(url, key) | options)
    return client


def _given(url: str, key: str | None) -> dict[str, Any]:
    return {"base_url": f"{url}/v1", "api_key": key or _NO_KEY}


def _module(what: str) -> Any:
    try:
        import openai
    except ModuleNotFoundError:
        raise MissingExtra(what, "demo") from None
    return openai
