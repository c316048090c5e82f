"""What the database holds. A change here needs a migration in `migrations/versions`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, ForeignKey, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """The metadata that all tables share."""


class Model(Base):
    """A model or adapter."""

    __tablename__ = "models"
    # Jobs and clients hold ids: one that was removed must never come back as another model.
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    type: Mapped[str] = mapped_column(String(20))
    format: Mapped[str] = mapped_column(String(20))
    path: Mapped[str] = mapped_column(Text)
    """Below the data directory where it lies there, so that the directory can be moved."""
    source: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of what was imported: tells a second pull of the same from a new one."""
    created: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    architecture: Mapped[str | None] = mapped_column(String(100))
    precision: Mapped[str | None] = mapped_column(String(20))
    context_length: Mapped[int | None]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))

    parent: Mapped[Model | None] = relationship(remote_side="Model.id", lazy="joined")
    load_times: Mapped[list[LoadTime]] = relationship(cascade="all, delete-orphan")


class LoadTime(Base):
    """How long a stage of a model's last load took on a device."""

    __tablename__ = "load_times"

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    device: Mapped[str] = mapped_column(String(40), primary_key=True)
    stage: Mapped[str] = mapped_column(String(40), primary_key=True)
    seconds: Mapped[float] = mapped_column(Float)


class ApiKey(Base):
    """A scoped key, by its digest."""

    __tablename__ = "api_keys"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    key_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[str] = mapped_column(Text)
    """Separated by spaces."""
    owner: Mapped[str] = mapped_column(String(200))
    created: Mapped[int] = mapped_column(BigInteger)
    last_used: Mapped[int | None] = mapped_column(BigInteger)
    revoked: Mapped[int | None] = mapped_column(BigInteger)
