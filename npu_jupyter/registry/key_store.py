"""API keys as the registry's database keeps them: digests, never keys."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from npu_jupyter.errors import NotFound
from npu_jupyter.registry.data_directory import DataDirectory
from npu_jupyter.registry.records import KeyRecord

if TYPE_CHECKING:
    from npu_jupyter.registry.tables import ApiKey

_LAST_USED_RESOLUTION_S = 60


class KeyStore(DataDirectory):
    """The part of the registry that holds keys."""

    def add_key(
        self, name: str, key_sha256: str, scopes: tuple[str, ...] = (), owner: str = ""
    ) -> KeyRecord:
        """Store the digest of a new key."""
        from npu_jupyter.registry.tables import ApiKey

        with self.session() as session, session.begin():
            row = ApiKey(
                name=name,
                key_sha256=key_sha256,
                scopes=" ".join(scopes),
                owner=owner,
                created=int(time.time()),
            )
            session.add(row)
            session.flush()
            return _record(row)

    def find_key(self, key_sha256: str) -> KeyRecord | None:
        """Return the key with this digest unless it was revoked, and note that it was used."""
        from sqlalchemy import select

        from npu_jupyter.registry.tables import ApiKey

        now = int(time.time())
        with self.session() as session, session.begin():
            row = session.scalars(
                select(ApiKey).where(ApiKey.key_sha256 == key_sha256, ApiKey.revoked.is_(None))
            ).one_or_none()
            if row is None:
                return None
            # Not at every request: each write makes the other servers' readers wait.
            if row.last_used is None or now - row.last_used >= _LAST_USED_RESOLUTION_S:
                row.last_used = now
            return _record(row)

    def list_keys(self, owner: str | None = None) -> list[KeyRecord]:
        """List all keys or one owner's, revoked ones too, the oldest first."""
        from sqlalchemy import select

        from npu_jupyter.registry.tables import ApiKey

        query = select(ApiKey).order_by(ApiKey.id)
        if owner is not None:
            query = query.where(ApiKey.owner == owner)
        with self.session() as session:
            return [_record(row) for row in session.scalars(query)]

    def revoke_key(self, key_id: int) -> KeyRecord:
        """End a key for good; raise `NotFound` if there is none of that id."""
        from npu_jupyter.registry.tables import ApiKey

        with self.session() as session, session.begin():
            row = session.get(ApiKey, key_id)
            if row is None:
                raise NotFound(f"There is no key {key_id}. See: jupyter npu keys")
            row.revoked = row.revoked or int(time.time())
            return _record(row)


def _record(row: ApiKey) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes.split()),
        owner=row.owner,
        created=row.created,
        last_used=row.last_used,
        revoked=row.revoked,
    )
