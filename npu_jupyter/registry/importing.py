"""The way of an import: fetch, convert if need be, check, register."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from npu_jupyter.errors import Conflict, InvalidRequest
from npu_jupyter.registry.check import Checked, check_model
from npu_jupyter.registry.convert import (
    Precision,
    convert_model,
    default_precision,
    parse_precision,
    require_converter,
)
from npu_jupyter.registry.disk import disk_errors_told, ensure_space, size_of
from npu_jupyter.registry.folder import MODEL_XML, Form, parameter_count, read_facts
from npu_jupyter.registry.incoming import Incoming, source_lock
from npu_jupyter.registry.ir_file import read_precision
from npu_jupyter.registry.names import check_name
from npu_jupyter.registry.records import ModelFormat, ModelRecord, ModelType, PullProgress
from npu_jupyter.registry.sources import Found, Workspace, parse_source

if TYPE_CHECKING:
    from npu_jupyter.registry.store import Registry

_GGUF_PARAMETERS_A_BYTE = 2
"""At four bits each: enough to reserve room by."""


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A model that passed its checks, ready to be moved to its place and registered."""

    name: str
    format: ModelFormat
    path: Path
    source: str
    fingerprint: str
    facts: Checked
    in_place: bool
    parent_id: int | None = None
    """The base, for an adapter."""


class Importer:
    """One import into a registry."""

    def __init__(
        self,
        registry: Registry,
        source: str,
        *,
        name: str | None,
        precision: str | None,
        in_place: bool,
        report: Callable[[PullProgress], None],
        cancelled: Event,
    ) -> None:
        """Check what the user asked for; raise `InvalidRequest`."""
        self._registry = registry
        self._name = None if name is None else check_name(name)
        self._precision = parse_precision(precision)
        self._in_place = in_place
        self._source = parse_source(source)
        self._report = report
        self._cancelled = cancelled
        self._data_dir = Path(registry.data_dir)

    def run(self) -> ModelRecord:
        """Import the model, or return the record of the same one imported before."""
        if self._name is not None:
            self._refuse_other_source(self._name)
        digest = hashlib.sha256(self._source.text.encode()).hexdigest()
        with source_lock(self._data_dir, digest, self._tell_waiting, self._cancelled):
            incoming = Incoming(self._data_dir)
            try:
                with disk_errors_told(incoming.folder, f"Pulling {self._source.text}"):
                    return self._import(incoming)
            finally:
                incoming.close()

    def _import(self, incoming: Incoming) -> ModelRecord:
        downloads = self._data_dir / "downloads"
        workspace = Workspace(incoming.folder, downloads, self._report, self._cancelled)
        promised = self._source.peek(workspace)
        known = self._known(promised) if promised else None
        if known is None:
            found = self._source.fetch(workspace)
            known = self._known(found)
        if known is not None:
            self._report(PullProgress("register", message=f"{known.name} is there already"))
            return known
        record = self._registry.add(self._prepare(found, workspace), incoming)
        self._source.forget(workspace)
        return record

    def _known(self, found: Found) -> ModelRecord | None:
        """Return the same import if it was made before; raise `Conflict` for another model."""
        known = self._registry.find(self._name or check_name(found.name))
        if known is None:
            return None
        if found.form is Form.HUGGING_FACE:
            same = self._precision in {None, known.precision}
        elif self._precision is None:
            same = (known.format is ModelFormat.GGUF) == (found.form is Form.GGUF)
        else:
            same = self._precision == known.precision
        if not same or self._registry.fingerprint(known.id) != found.fingerprint:
            raise name_taken(known)
        return known

    def _prepare(self, found: Found, workspace: Workspace) -> CheckedModel:
        name = self._name or found.name
        precision = self._precision_for(found)
        path = self._place(found, precision, workspace)
        reference = path if precision is None else found.path
        facts = check_model(name, path, reference, workspace, self._registry.check_timeout_s)
        if facts.type is ModelType.LLM and not facts.chat_template:
            told = "no chat template: the model completes text, and cannot chat"
            self._report(PullProgress("check", message=told))
        model_format = ModelFormat.GGUF if path.is_file() else ModelFormat.OPENVINO
        self._report(PullProgress("register", message=name))
        return CheckedModel(
            name=name,
            format=model_format,
            path=path,
            source=found.source,
            fingerprint=found.fingerprint,
            facts=facts,
            in_place=self._in_place,
        )

    def _precision_for(self, found: Found) -> Precision | None:
        """Decide what to convert to; None leaves the files as they are."""
        if found.form is Form.HUGGING_FACE:
            require_converter()
            facts = read_facts(found.path)
            return self._precision or default_precision(facts.type, parameter_count(found.path))
        if found.form is Form.OPENVINO and self._precision is not None:
            precision = read_precision(found.path / MODEL_XML)
            if precision != self._precision:
                raise InvalidRequest(
                    f"{found.source} is in OpenVINO form with {precision} weights already. Pull "
                    f"it without a precision, or pull the original model for {self._precision}.",
                    param="precision",
                )
            return None
        return self._precision

    def _place(self, found: Found, precision: Precision | None, workspace: Workspace) -> Path:
        """Convert, move, link or copy the model into the import's folder."""
        target = workspace.folder / "model"
        if precision is not None:
            self._convert(found, target, precision, workspace)
            return target
        if self._in_place and not found.ours:
            return found.path
        if found.form is Form.GGUF:
            target.mkdir()
            target /= found.path.name
        if found.ours:
            found.path.rename(target)
        else:
            link_or_copy(found.path, target, self._cancelled)
        return target

    def _convert(
        self, found: Found, target: Path, precision: Precision, workspace: Workspace
    ) -> None:
        if self._in_place:
            raise InvalidRequest(
                f"{found.source} must be converted, so it cannot be served where it lies."
            )
        gguf = found.form is Form.GGUF
        convert_model(
            found.path,
            target,
            kind=ModelType.LLM if gguf else read_facts(found.path).type,
            precision=precision,
            parameters=size_of(found.path) * _GGUF_PARAMETERS_A_BYTE
            if gguf
            else parameter_count(found.path),
            trust_remote_code=self._registry.trust_remote_code,
            workspace=workspace,
        )

    def _refuse_other_source(self, name: str) -> None:
        """Find a taken name before the download, not after it."""
        known = self._registry.find(name)
        origin = self._source.text
        if known is not None and known.source.partition("==")[0] != origin.partition("==")[0]:
            raise name_taken(known)

    def _tell_waiting(self) -> None:
        self._report(PullProgress("wait", message="another process imports the same"))


def name_taken(record: ModelRecord) -> Conflict:
    """Say whose name it is and how to go on."""
    return Conflict(
        f"The name {record.name} is taken by model {record.id} from {record.source}. Choose "
        f"another with --name, or remove that one first: jupyter npu remove {record.name}",
        param="name",
    )


def link_or_copy(source: Path, target: Path, cancelled: Event) -> None:
    """Take a file or folder in; a hard link costs no space where the disk is the same."""
    if source.is_dir():
        target.mkdir()
        for entry in sorted(source.iterdir()):
            if not entry.name.startswith("."):
                link_or_copy(entry, target / entry.name, cancelled)
        return
    if cancelled.is_set():
        return
    real = source.resolve()
    try:
        os.link(real, target)
    except OSError:
        ensure_space(target.parent, real.stat().st_size, f"Copying {source.name}")
        shutil.copyfile(real, target)
