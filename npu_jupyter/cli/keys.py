"""``jupyter npu keys``: make, list and revoke API keys."""

from __future__ import annotations

import getpass
import time

from traitlets import Int, List, Unicode

from npu_jupyter.cli.command import NpuCommand
from npu_jupyter.keys import SCOPES, KeyRing
from npu_jupyter.registry.store import Registry


class KeysApp(NpuCommand):
    """List API keys; make one with --create NAME, end one with --revoke ID.

    A key opens /v1 and /api/finetune and nothing else of a Jupyter Server.
    """

    name = "jupyter-npu-keys"
    description = __doc__ or ""
    aliases = {
        **NpuCommand.aliases,
        "create": "KeysApp.create",
        "scopes": "KeysApp.scopes",
        "revoke": "KeysApp.revoke",
    }

    create = Unicode(help="Name of a new key. Empty makes none.").tag(config=True)
    scopes = List(
        Unicode(), ["chat"], help=f"What the new key may do, of: {', '.join(SCOPES)}."
    ).tag(config=True)
    revoke = Int(0, help="Id of the key to end. 0 ends none.").tag(config=True)

    def run(self, registry: Registry) -> None:
        """Do what was asked, or list the keys."""
        if self.create:
            token = KeyRing(registry).create(self.create, self.scopes, getpass.getuser())
            print(token)
            print("Keep it: it is shown this once.")
        elif self.revoke:
            registry.revoke_key(self.revoke)
            print(f"Key {self.revoke} is revoked; servers that run forget it within 10 s.")
        else:
            self._list(registry)

    def _list(self, registry: Registry) -> None:
        for key in registry.list_keys():
            created = time.strftime("%Y-%m-%d", time.localtime(key.created))
            state = "revoked" if key.revoked else "valid"
            print(f"{key.id:<4} {key.name:<24} {' '.join(key.scopes):<24} {created}  {state}")
