"""``npu.Models()``: what is registered, loaded and loading, and the devices, in a cell."""

from __future__ import annotations

from typing import ClassVar

from npu_jupyter.client import Client
from npu_jupyter.errors import NpuError
from npu_jupyter.widgets.widget import NpuWidget


class Models(NpuWidget):
    """The models and devices of the server; load, unload, pin, add and remove them."""

    _module: ClassVar[str] = "models"

    def __init__(self, *, client: Client | None = None) -> None:
        """Show the server's models.

        Raises:
            ServerNotFound: no server answers.
        """
        super().__init__(client)

    def _text(self) -> str:
        try:
            return repr(self._client.models())
        except NpuError as error:
            return f"Models()\n{error.message}"

    def _html(self) -> str:
        try:
            return self._client.models()._repr_html_()
        except NpuError:
            return ""
