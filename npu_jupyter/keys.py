"""Scoped API keys: they open `/v1` and `/api/finetune` and nothing else of a Jupyter Server."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from npu_jupyter.errors import InvalidRequest

if TYPE_CHECKING:
    from npu_jupyter.registry.store import Registry

PREFIX = "sk-npu-"
"""What our keys start with, so that other tokens never cost a look into the database."""

KERNEL_KEY_ID = "kernel"
SCOPES = ("chat", "load", "finetune", "admin")
CACHE_S = 10.0
"""Seconds for which a key's answer is remembered, so that not every request asks the database."""

_TOKEN_BYTES = 32
_MAX_CACHED = 1024


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What a key may do, and for whom; the key itself is kept as a hash only."""

    id: str
    name: str
    owner: str
    scopes: frozenset[str]


class KeyRing:
    """The keys that this server knows: those of the database, and one of its own for kernels."""

    def __init__(self, registry: Registry) -> None:
        """Look keys up in `registry`."""
        self._registry = registry
        self._session: dict[str, ApiKey] = {}
        self._cache: dict[str, tuple[float, ApiKey | None]] = {}

    def issue_for_kernels(self, owner: str) -> str:
        """Make a key that lives as long as this server and is written nowhere."""
        token = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        scopes = frozenset(SCOPES) - {"admin"}
        self._session[_hash(token)] = ApiKey(KERNEL_KEY_ID, "kernels of this server", owner, scopes)
        return token

    def create(self, name: str, scopes: Iterable[str], owner: str) -> str:
        """Make a key that is kept in the database; the token is shown this once.

        Raises:
            InvalidRequest: for a scope that there is not.
        """
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown:
            message = f"There is no scope {unknown[0]}. Scopes are: {', '.join(SCOPES)}."
            raise InvalidRequest(message, param="scopes")
        token = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        self._registry.add_key(name, _hash(token), tuple(scopes), owner)
        return token

    def find(self, token: str) -> ApiKey | None:
        """Give the key that `token` is, unless it is unknown or was revoked.

        A revoked key works for `CACHE_S` at most.
        """
        if not token.startswith(PREFIX):
            return None
        digest = _hash(token)
        if digest in self._session:
            return self._session[digest]
        now = time.monotonic()
        found_at, key = self._cache.get(digest, (-CACHE_S, None))
        if now - found_at >= CACHE_S:
            key = self._look_up(digest)
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[digest] = (now, key)
        return key

    def _look_up(self, digest: str) -> ApiKey | None:
        record = self._registry.find_key(digest)
        if record is None:
            return None
        return ApiKey(f"key-{record.id}", record.name, record.owner, frozenset(record.scopes))


def _hash(token: str) -> str:
    """Hash a token: it has 256 random bits, so no salt or slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()
