"""The two forms of a base model that fine-tuning needs: one to train, one to serve adapters on.

A registered model is a GGUF file or OpenVINO IR. torch trains Hugging Face weights, and the
engine applies adapters to IR only, so what is missing is made once, from the same weights, and
kept in ``<data_dir>/bases/<model id>``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import portalocker

from npu_jupyter.errors import InvalidRequest, NpuError
from npu_jupyter.registry.convert import Precision, convert_model
from npu_jupyter.registry.disk import disk_errors_told, size_of
from npu_jupyter.registry.folder import Form
from npu_jupyter.registry.gguf_file import GgufFile
from npu_jupyter.registry.gguf_tokenizer import save_tokenizer
from npu_jupyter.registry.importing import link_or_copy
from npu_jupyter.registry.incoming import PullCancelled
from npu_jupyter.registry.records import ModelFormat, ModelRecord, ModelType, PullProgress
from npu_jupyter.registry.sources import Found, Workspace, parse_source
from npu_jupyter.registry.store import Registry

_POLL_S = 0.1
_PARAMETERS_A_BYTE = 2
"""Of a GGUF file at four bits each: enough to reserve room by."""


@dataclass(frozen=True, slots=True)
class Base:
    """A model in both forms."""

    hugging_face: Path
    """Folder with config.json, safetensors and the tokenizer."""
    openvino: Path
    """Folder with the IR to which the engine applies adapters."""


def tokenizer_folder(registry: Registry, record: ModelRecord) -> Path:
    """Give a folder from which transformers reads the model's tokenizer and chat template.

    Raises:
        InvalidModel: when a GGUF file's tokenizer cannot be read here.
    """
    if record.format is not ModelFormat.GGUF:
        return record.path
    folder = registry.base_folder(record.id)
    if (folder / "hugging-face").is_dir():
        return folder / "hugging-face"
    with _locked(folder, Event(), lambda: None):
        place = folder.with_suffix(".tokenizer")
        if not place.is_dir():
            work = place.with_suffix(".part")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            save_tokenizer(GgufFile(record.path), work)
            work.rename(place)
    return place


def prepare_base(
    registry: Registry,
    record: ModelRecord,
    report: Callable[[PullProgress], None],
    cancelled: Event | None = None,
) -> Base:
    """Make the forms of `record` that are missing; one process at a time, the others wait.

    Raises:
        NpuError: when the original weights cannot be had, or not be converted.
    """
    folder = registry.base_folder(record.id)
    cancelled = cancelled or Event()
    waiting = PullProgress("convert", message=f"another process prepares {record.name}")
    with _locked(folder, cancelled, lambda: report(waiting)):
        if not folder.is_dir():
            work = folder.with_suffix(".part")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            with disk_errors_told(work, f"Preparing {record.name} for training"):
                workspace = Workspace(work, registry.root / "downloads", report, cancelled)
                ready = _make(registry, record, workspace)
                ready.rename(folder)
            shutil.rmtree(work, ignore_errors=True)
    openvino = folder / "openvino"
    return Base(folder / "hugging-face", openvino if openvino.is_dir() else record.path)


def _make(registry: Registry, record: ModelRecord, workspace: Workspace) -> Path:
    """Put the forms that `record` lacks into one folder."""
    ready = workspace.folder / "ready"
    ready.mkdir()
    if record.format is ModelFormat.GGUF:
        _convert(registry, record.path, ready, workspace)
        return ready
    found = _original(registry, record, workspace)
    if found.form is Form.GGUF:
        _convert(registry, found.path, ready, workspace)
    else:
        link_or_copy(found.path, ready / "hugging-face", workspace.cancelled)
    return ready


def _convert(registry: Registry, gguf: Path, ready: Path, workspace: Workspace) -> None:
    """Make both forms of a GGUF file, of the very same weights: what is trained is served."""
    convert_model(
        gguf,
        ready / "openvino",
        kind=ModelType.LLM,
        precision=Precision.INT8,
        parameters=size_of(gguf) * _PARAMETERS_A_BYTE,
        trust_remote_code=registry.trust_remote_code,
        workspace=workspace,
        rounded=True,
    )
    (workspace.folder / "convert" / "hugging-face").rename(ready / "hugging-face")


def _original(registry: Registry, record: ModelRecord, workspace: Workspace) -> Found:
    """Fetch the weights that `record` was converted from.

    Raises:
        InvalidRequest: when it was imported as IR, which cannot be trained, or has changed.
    """
    advice = f"Pull the original model under another name and train that one: {record.source}."
    try:
        found = parse_source(record.source).fetch(workspace)
    except NpuError as error:
        raise InvalidRequest(
            f"The original weights of {record.name} cannot be had: {error.message}",
            param="model_id",
        ) from error
    if found.form is Form.OPENVINO:
        raise InvalidRequest(
            f"{record.name} was imported as OpenVINO IR, which can be served and not trained. "
            "Pull the model in its Hugging Face or GGUF form and train that one.",
            param="model_id",
        )
    if found.fingerprint != registry.fingerprint(record.id):
        raise InvalidRequest(
            f"What lies at {record.source} is no longer what {record.name} was made of. {advice}",
            param="model_id",
        )
    return found


@contextmanager
def _locked(folder: Path, cancelled: Event, waiting: Callable[[], None]) -> Iterator[None]:
    """Be the only process that prepares this base."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = portalocker.Lock(folder.with_suffix(".lock"), timeout=0, fail_when_locked=True)
    while True:
        try:
            lock.acquire()
            break
        except portalocker.LockException:
            waiting()
            if cancelled.wait(_POLL_S):
                raise PullCancelled("Stopped while another process prepared the base.") from None
    try:
        yield
    finally:
        lock.release()
