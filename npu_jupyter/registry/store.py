"""The registry: which models exist on this machine, where they came from and what they are."""

from __future__ import annotations

import dataclasses
import difflib
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from traitlets import Bool, Float

from npu_jupyter.errors import Conflict, ModelNotFound
from npu_jupyter.registry.key_store import KeyStore
from npu_jupyter.registry.names import NAME_MAX_LENGTH, is_name
from npu_jupyter.registry.records import (
    SERVED_ADAPTER,
    ModelFormat,
    ModelRecord,
    ModelType,
    PullProgress,
)

# sqlalchemy and alembic take 0.3 s to import: not before somebody asks for a model.
if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from npu_jupyter.registry.importing import CheckedModel
    from npu_jupyter.registry.incoming import Incoming
    from npu_jupyter.registry.tables import Model

_CARRIER_SUFFIX = "+adapters"
"""After a base's name, its worker for adapters; no name that is registered has a plus."""
_CHECKPOINT = re.compile(r"(?P<base>.+):job-(?P<job>[1-9]\d{0,8})@step-(?P<step>\d{1,9})")
"""The name of a checkpoint: ``base:job-7@step-120``."""
_NEAR_NAMES = 3
_MAX_ID = 2**31 - 1


def _say_nothing(_progress: PullProgress) -> None:
    """Take progress that nobody asked for."""


class Registry(KeyStore):
    """Models and API keys in a database, model files below a data directory.

    Every method may be called from any thread, and blocks. Several servers may share one data
    directory.
    """

    trust_remote_code = Bool(
        False,
        help="""Run Python code that comes with a model while it is converted. Default: False.
        Such code can do whatever the user can who runs the server.""",
    ).tag(config=True)

    check_timeout_s = Float(
        1800.0,
        min=0,
        help="""Seconds that the check of an imported model may take, its first load and answer
        included. Default: 1800. 0 is no limit.""",
    ).tag(config=True)

    # Models

    def models(self) -> list[ModelRecord]:
        """List every registered model, the oldest first."""
        from sqlalchemy import select

        from npu_jupyter.registry.tables import Model

        with self.session() as session:
            return [self._record(row) for row in session.scalars(select(Model).order_by(Model.id))]

    def get(self, name_or_id: str | int) -> ModelRecord:
        """Return a model; raise `ModelNotFound` that names those like it."""
        record = self.find(name_or_id)
        if record is None:
            raise self._not_found(name_or_id)
        return record

    def find(self, name_or_id: str | int) -> ModelRecord | None:
        """Return a model, or None."""
        with self.session() as session:
            row = self._row(session, name_or_id)
            return self._checkpoint(session, name_or_id) if row is None else self._record(row)

    def fingerprint(self, model_id: int) -> str:
        """Return the digest of what was imported, to tell the same from another."""
        from npu_jupyter.registry.tables import Model

        with self.session() as session:
            return session.get_one(Model, model_id).fingerprint

    def pull(
        self,
        source: str,
        name: str | None = None,
        *,
        precision: str | None = None,
        in_place: bool = False,
        progress: Callable[[PullProgress], None] = _say_nothing,
        cancelled: threading.Event | None = None,
    ) -> ModelRecord:
        """Import a model from `source`, check it and register it.

        `precision` (int4, int8 or fp16) is what to convert to; without it a GGUF file and an
        OpenVINO folder stay as they are. `in_place` registers a local one where it lies instead
        of taking it in. Setting `cancelled` from another thread stops the import.
        The same content under the same name again returns the record that is there.

        Raises `InvalidRequest`, `Conflict`, `InvalidModel`, `InsufficientDisk`, `MissingExtra`
        or another `NpuError`; then nothing is registered and nothing left behind.
        """
        from npu_jupyter.registry.importing import Importer

        self._open()
        return Importer(
            self,
            source,
            name=name,
            precision=precision,
            in_place=in_place,
            report=progress,
            cancelled=cancelled or threading.Event(),
        ).run()

    def add(self, model: CheckedModel, incoming: Incoming) -> ModelRecord:
        """Register a model and move it to its place, both or neither."""
        from npu_jupyter.registry.disk import size_of
        from npu_jupyter.registry.importing import name_taken
        from npu_jupyter.registry.incoming import registry_lock
        from npu_jupyter.registry.names import slug
        from npu_jupyter.registry.tables import Model

        with registry_lock(self.root), self.session() as session, session.begin():
            taken = self._row(session, model.name)
            if taken is not None:
                raise name_taken(self._record(taken))
            row = Model(
                name=model.name,
                type=model.facts.type,
                format=model.format,
                path=str(model.path),
                source=model.source,
                fingerprint=model.fingerprint,
                created=int(time.time()),
                size_bytes=size_of(model.path),
                architecture=model.facts.architecture,
                precision=model.facts.precision,
                context_length=model.facts.context_length,
                parent_id=model.parent_id,
            )
            if model.parent_id is not None and session.get(Model, model.parent_id) is None:
                raise ModelNotFound(f"The base of {model.name} was removed in the meantime.")
            session.add(row)
            session.flush()
            if not model.in_place:
                place = self.root / "models" / f"{row.id}-{slug(model.name)}"
                row.path = self._move(model, place, incoming)
            session.flush()
            return self._record(row)

    def remove(self, name: str) -> None:
        """Forget a model and delete the files that were taken in for it."""
        from sqlalchemy import select

        from npu_jupyter.registry.incoming import registry_lock, trash
        from npu_jupyter.registry.tables import Model

        self._open()  # takes the same lock
        with registry_lock(self.root), self.session() as session, session.begin():
            row = self._row(session, name)
            if row is None:
                raise self._not_found(name)
            adapters = session.scalars(select(Model.name).where(Model.parent_id == row.id)).all()
            if adapters:
                raise Conflict(f"{name} is the base of {', '.join(adapters)}. Remove those first.")
            place = self._place_of(row)
            session.delete(row)
            session.flush()
            doomed = trash(self.root)
            if place is not None and place.exists():
                self._retire(name, place, doomed)
        base = self.base_folder(row.id)
        tokenizer = base.with_suffix(".tokenizer")
        for leftover in (doomed, self.root / "compiled" / str(row.id), base, tokenizer):
            shutil.rmtree(leftover, ignore_errors=True)

    def carrier_of(self, name: str) -> ModelRecord | None:
        """Describe what is loaded for the adapters of a base; None when it is not prepared."""
        with self.session() as session:
            row = self._row(session, name)
            carrier = None if row is None else self._carrier(row)
        return carrier if carrier and carrier.path.is_dir() else None

    def base_folder(self, model_id: int) -> Path:
        """Name the folder of what fine-tuning made of a model: see `npu_jupyter.finetune.base`."""
        return self.root / "bases" / str(model_id)

    # How long loading takes

    def record_load(self, model_id: int, device: str, stage_seconds: dict[str, float]) -> None:
        """Remember how long each stage of a load took, for the next estimate."""
        from npu_jupyter.registry.tables import LoadTime, Model

        with self.session() as session, session.begin():
            if session.get(Model, model_id) is None:
                return  # removed while it was loaded
            for stage, seconds in stage_seconds.items():
                session.merge(
                    LoadTime(model_id=model_id, device=device, stage=stage, seconds=seconds)
                )

    def expected_load(self, model_id: int, device: str) -> dict[str, float]:
        """Return the seconds that each stage took last time; empty when it never was loaded."""
        from sqlalchemy import select

        from npu_jupyter.registry.tables import LoadTime

        wanted = (LoadTime.model_id == model_id, LoadTime.device == device)
        with self.session() as session:
            return {
                row.stage: row.seconds for row in session.scalars(select(LoadTime).where(*wanted))
            }

    # Rows and folders

    def _opened(self) -> None:
        """Clean up after imports that did not end."""
        from npu_jupyter.registry.incoming import sweep

        for path in sweep(self.root, self._places()):
            self.log.info("Removed %s, left by an import that did not end", path)

    def _places(self) -> set[Path]:
        """List the folders of all registered models."""
        from sqlalchemy import select

        from npu_jupyter.registry.tables import Model

        with self.session() as session:
            places = (self._place_of(row) for row in session.scalars(select(Model)))
            return {place for place in places if place is not None}

    def _row(self, session: Session, name_or_id: str | int) -> Model | None:
        from sqlalchemy import select

        from npu_jupyter.registry.tables import Model

        if isinstance(name_or_id, int):
            return session.get(Model, name_or_id) if 0 < name_or_id <= _MAX_ID else None
        # What no model can be named need not be asked for, and may be nothing for a database.
        if not is_name(name_or_id):
            return None
        return session.scalars(select(Model).where(Model.name == name_or_id)).one_or_none()

    def _checkpoint(self, session: Session, name_or_id: str | int) -> ModelRecord | None:
        """Find the adapter in a job's checkpoint, which is served and not registered."""
        from npu_jupyter.registry.tables import Job

        named = _CHECKPOINT.fullmatch(str(name_or_id))
        base = self._row(session, named["base"]) if named else None
        job = session.get(Job, int(named["job"])) if named else None
        if named is None or base is None or job is None or job.model_id != base.id:
            return None
        path = self.root / "jobs" / named["job"] / "checkpoints" / f"step-{named['step']}"
        if not (path / SERVED_ADAPTER).is_file():
            return None
        return dataclasses.replace(
            self._record(base),
            name=named[0],
            format=ModelFormat.ADAPTER,
            path=path,
            source=f"job:{job.id}",
            precision="lora",
            parent=base.name,
            carrier=self._carrier(base),
        )

    def _record(self, row: Model) -> ModelRecord:
        return ModelRecord(
            id=row.id,
            name=row.name,
            type=ModelType(row.type),
            format=ModelFormat(row.format),
            path=self.root / row.path,
            source=row.source,
            created=row.created,
            size_bytes=row.size_bytes,
            architecture=row.architecture,
            precision=row.precision,
            context_length=row.context_length,
            parent=row.parent.name if row.parent else None,
            carrier=self._carrier(row.parent) if row.parent else None,
        )

    def _carrier(self, base: Model) -> ModelRecord:
        """Describe what is loaded for the adapters of a base."""
        openvino = self.base_folder(base.id) / "openvino"
        record = dataclasses.replace(
            self._record(base),
            name=base.name + _CARRIER_SUFFIX,
            format=ModelFormat.OPENVINO,
            takes_adapters=True,
        )
        if base.format != ModelFormat.OPENVINO or openvino.is_dir():
            record = dataclasses.replace(record, path=openvino)
        return record

    def _place_of(self, row: Model) -> Path | None:
        """Return the folder that was made for a model; None for one served where it lies."""
        path = Path(row.path)
        return None if path.is_absolute() else self.root.joinpath(*path.parts[:2])

    def _move(self, model: CheckedModel, place: Path, incoming: Incoming) -> str:
        """Move a model's files to `place`; return their path below the data directory."""
        place.parent.mkdir(exist_ok=True)
        incoming.announce(place)
        if model.format is ModelFormat.GGUF:
            model.path.parent.rename(place)
            place /= model.path.name
        else:
            model.path.rename(place)
        return place.relative_to(self.root).as_posix()

    @staticmethod
    def _retire(name: str, place: Path, doomed: Path) -> None:
        try:
            place.rename(doomed)
        except PermissionError as error:  # Windows, while a process has the files open
            raise Conflict(f"{name} is in use. Unload it first, then remove it.") from error

    def _not_found(self, name_or_id: str | int) -> ModelNotFound:
        wanted = str(name_or_id)[:NAME_MAX_LENGTH]
        names = [record.name for record in self.models()]
        near = difflib.get_close_matches(wanted, names, _NEAR_NAMES)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        known = f"{len(names)} are registered; " if names else "None is registered yet; "
        return ModelNotFound(
            f"There is no model {wanted!r}. {hint}{known}list them with `jupyter npu models`, "
            "add one with `jupyter npu pull SOURCE`.",
            param="model",
        )
