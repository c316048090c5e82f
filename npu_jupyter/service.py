"""``jupyter npu``: a Jupyter Server with the engine and without kernels, terminals and files."""

from __future__ import annotations

import ipaddress
from typing import Any

from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider, User
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.contents.filemanager import AsyncFileContentsManager
from tornado import web
from traitlets import default

from npu_jupyter.environment import api_url

_PORT = 8000


class LocalIdentityProvider(IdentityProvider):
    """Lets everyone in who reaches a loopback address: there is nothing to run code with.

    What keeps web pages out is checked by our handlers: the Host, the Origin and the
    Content-Type of each request.
    """

    @default("token")
    def _token_default(self) -> str:
        return ""

    def get_user(self, handler: web.RequestHandler) -> User:  # noqa: ARG002 - as the base has it
        """Everyone is the one local user; no cookie is set."""
        return User("local")

    def validate_security(self, app: ServerApp, ssl_options: dict[str, Any] | None = None) -> None:
        """Say nothing: the base class warns of running code, which this service cannot."""


class NoFiles(AsyncFileContentsManager):
    """A contents manager without an address."""

    def get_extra_handlers(self) -> list[Any]:
        """Leave out ``/files``."""
        return []


class NpuServer(ServerApp):
    """The server under the bare service: our handlers, login, and nothing that reads or runs."""

    name = "jupyter-npu-service"
    port_default_value = _PORT
    default_services = ("auth", "security")  # type: ignore[assignment]  # typed as its default

    @default("allow_root")
    def _allow_root_default(self) -> bool:
        """Jupyter refuses root because it runs its users' code; this service runs none."""
        return True

    @default("contents_manager_class")
    def _contents_manager_class_default(self) -> type[NoFiles]:
        return NoFiles

    @default("identity_provider_class")
    def _identity_provider_class_default(self) -> type[IdentityProvider]:
        """Ask for a key unless only this machine can connect."""
        return LocalIdentityProvider if self.on_loopback else PasswordIdentityProvider

    @default("disable_check_xsrf")
    def _disable_check_xsrf_default(self) -> bool:
        """Leave the XSRF cookie to browsers that log in; where no key is asked none can."""
        return issubclass(self.identity_provider_class, LocalIdentityProvider)

    def running_server_info(self, kernel_count: bool = True) -> str:  # noqa: ARG002 - none here
        """Say where we are; the base class speaks of notebooks and kernels."""
        return f"The OpenAI API is at {api_url(self) or f'/v1 on the socket {self.sock}'}"

    @property
    def on_loopback(self) -> bool:
        """Whether nobody outside this machine can connect."""
        if self.sock:
            return True
        try:
            return ipaddress.ip_address(self.ip).is_loopback
        except ValueError:
            return self.ip == "localhost"


def serves_notebooks(server: ServerApp) -> bool:
    """Whether kernels run under this server, or it is the bare service."""
    return not isinstance(server, NpuServer)
