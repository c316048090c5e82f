"""Who may do what: resources, the scopes of API keys that open them, and the check itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from jupyter_server.auth.authorizer import Authorizer
from jupyter_server.auth.decorator import authorized
from jupyter_server.auth.identity import User
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from npu_jupyter.errors import PermissionDenied

if TYPE_CHECKING:
    from npu_jupyter.handler import NpuHandler

_SCOPES = {
    "npu:models": frozenset({"chat", "load", "finetune", "admin"}),
    "npu:chat": frozenset({"chat"}),
    "npu:load": frozenset({"load", "admin"}),
    "npu:finetune": frozenset({"finetune"}),
    "npu:admin": frozenset({"admin"}),
}
"""For each resource the scopes of which an API key needs one."""


class _ScopeAuthorizer(Authorizer):
    """Lets an API key do what its scopes say, on our own resources only."""

    def is_authorized(
        self,
        handler: JupyterHandler,
        user: User,  # noqa: ARG002 - the key speaks for its owner
        action: str,
        resource: str,
    ) -> bool:
        """Compare the key's scopes with those that open `resource`.

        Raises:
            PermissionDenied: naming the scopes that the key has and those that it lacks.
        """
        key = cast("NpuHandler", handler).api_key
        wanted = _SCOPES.get(resource, frozenset())
        if key is not None and key.scopes & wanted:
            return True
        has = ", ".join(sorted(key.scopes)) if key is not None else "none"
        raise PermissionDenied(
            f"This API key's scopes are {has}; to {action} {resource.removeprefix('npu:')} it "
            f"needs {' or '.join(sorted(wanted))}. See: jupyter npu keys --help."
        )


SCOPE_AUTHORIZER = _ScopeAuthorizer()

Method = Callable[..., Awaitable[None] | None]
"""A handler's method for an HTTP verb."""


def allowed(action: str, resource: str) -> Callable[[Method], Method]:
    """Let only those call a method who are known, and may do `action` on `resource`.

    The order of the two checks matters: who it is comes before what he may do.
    """

    def decorate(method: Method) -> Method:
        checked: Method = authorized(action, resource=resource)(method)
        return web.authenticated(checked)

    return decorate
