"""A model's Markdown as HTML that is safe in a page.

A cell that the user has run is trusted: JupyterLab runs scripts in its Markdown. But a model
repeats what it has read, and that may be a page or a row of somebody else's.
"""

from __future__ import annotations

from html import escape
from typing import Any

import mistune

_PLUGINS = ("table", "strikethrough")


class _Renderer(mistune.HTMLRenderer):
    """Writes markup of the model's as text, and loads nothing."""

    def __init__(self) -> None:
        super().__init__(escape=True)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Name a picture: to load one would tell its server what was read."""
        del title
        return f"[{text or escape(url)}]"


_to_html = mistune.create_markdown(renderer=_Renderer(), plugins=list(_PLUGINS))


def to_html(text: str) -> str:
    """Render Markdown."""
    html: Any = _to_html(text)
    return str(html)
