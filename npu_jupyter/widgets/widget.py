"""What all widgets share: their JavaScript, their way to the server, and what is shown without."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import anywidget
from traitlets import Unicode

from npu_jupyter.client import Client, current
from npu_jupyter.widgets.modules import joined, styles
from npu_jupyter.widgets.route import Forwarder, route_to

_FOLDER = Path(__file__).parent


class NpuWidget(anywidget.AnyWidget):
    """A widget whose page speaks HTTP with the server; the kernel keeps its state.

    `client` is the server, by default the one that `npu.connect()` found.
    """

    _module: ClassVar[str]
    """The name of its .js and .css files."""
    _route = Unicode().tag(sync=True)

    def __init_subclass__(cls, **options: Any) -> None:
        """Join the JavaScript of a widget once."""
        super().__init_subclass__(**options)
        if "_module" in cls.__dict__:  # traits added to an instance make a subclass too
            cls._esm = joined(_FOLDER / f"{cls._module}.js")
            cls._css = styles(_FOLDER / f"{cls._module}.css")

    def __init__(self, client: Client | None = None, **traits: Any) -> None:
        """Find the way to the server.

        Raises:
            ServerNotFound: no `client` was given, and no server answers.
        """
        self._client = client or current()
        super().__init__(_route=str(route_to(self._client.url)), **traits)
        self._forwarder = Forwarder(self._client.url, self._client.key, self.send)
        self.on_msg(self._taken)

    def _taken(self, _widget: object, message: dict[str, Any], _buffers: object) -> None:
        self._forwarder.take(message)

    def _text(self) -> str:
        """Say it in a terminal, or where widgets are not drawn."""
        return repr(self)

    def _html(self) -> str:
        """Say it in a saved notebook."""
        return ""

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Add plain text and HTML for what cannot draw widgets: nbconvert, terminals, GitHub."""
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        data["text/plain"] = self._text()
        if html := self._html():
            data["text/html"] = html
        return data, metadata
