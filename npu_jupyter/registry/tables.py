"""What the database holds. A change here needs a migration in `migrations/versions`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, String, Text, UniqueConstraint
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


class Job(Base):
    """A fine-tuning job."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    model_id: Mapped[int]
    """Not a foreign key: the job's history outlives the model."""
    model_name: Mapped[str] = mapped_column(String(200))
    dataset: Mapped[str] = mapped_column(Text)
    dataset_sha256: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int]
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    resulting_name: Mapped[str] = mapped_column(String(200))
    resumed_from: Mapped[int | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(20), index=True)
    stage: Mapped[str] = mapped_column(String(100), default="")
    created_at: Mapped[float] = mapped_column(Float)
    started_at: Mapped[float | None] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    current_step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int] = mapped_column(default=0)
    current_epoch: Mapped[float] = mapped_column(Float, default=0.0)
    eta_seconds: Mapped[float | None] = mapped_column(Float)
    trained_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    error: Mapped[str | None] = mapped_column(Text)
    stop_requested: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=0)
    estimate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    parity: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    resulting_model: Mapped[str | None] = mapped_column(String(200))


class JobEvent(Base):
    """One line of a job's history."""

    __tablename__ = "job_events"
    __table_args__ = (
        Index("ix_job_events_job_id_id", "job_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    time: Mapped[float] = mapped_column(Float)
    kind: Mapped[str] = mapped_column(String(20))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
