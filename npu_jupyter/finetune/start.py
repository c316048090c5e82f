"""From a checked request to a queued job: its model, its name, its data as they are now."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from npu_jupyter.errors import Conflict, InvalidRequest, ModelNotFound, RateLimited
from npu_jupyter.finetune.folder import JobFolder, incoming_rows
from npu_jupyter.finetune.names import resulting_name
from npu_jupyter.finetune.records import ENDED, RESUMABLE, JobRecord, JobState, NewJob
from npu_jupyter.finetune.request import HARMLESS, StartRequest, require_packages
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.registry.disk import disk_errors_told
from npu_jupyter.registry.records import ModelRecord, ModelType
from npu_jupyter.registry.store import Registry

if TYPE_CHECKING:
    from npu_jupyter.finetune.datasets.report import DatasetReport

_RETRY_AFTER_S = 60.0
_CONTEXT_LENGTH = 2048
"""Of a model that does not say how much it reads."""

FindDataset = Callable[[str, str], Path | str]
"""Gives what an owner calls his dataset: a path, or a repository of the hub."""


class JobStarter:
    """Queues jobs of callers; the supervisor begins them."""

    def __init__(
        self, registry: Registry, store: JobStore, *, max_queued_per_owner: int = 0
    ) -> None:
        """Fine-tune models of `registry`; 0 is no limit."""
        self._registry = registry
        self._store = store
        self._max_queued = max_queued_per_owner

    async def start(
        self,
        request: StartRequest,
        owner: str,
        find: FindDataset,
        idempotency_key: str | None = None,
    ) -> tuple[JobRecord, DatasetReport | None]:
        """Queue a job once its model and its whole dataset have been found good.

        With a key that `owner` has used for the same, the job that is there comes back. There is
        a report unless the job was there or goes on from another.

        Raises:
            NpuError: naming the field, or the rows, that stand against it.
        """
        known = await asyncio.to_thread(self._store.known, owner, idempotency_key)
        if known is not None:
            return self._same(known, request), None
        require_packages(request.recipe)
        await asyncio.to_thread(self._check_share, owner)
        if request.resume_from is not None:
            job = await asyncio.to_thread(self._go_on, request, owner, idempotency_key)
            return job, None
        return await self._begin(request, owner, find, idempotency_key)

    async def _begin(
        self, request: StartRequest, owner: str, find: FindDataset, idempotency_key: str | None
    ) -> tuple[JobRecord, DatasetReport]:
        from npu_jupyter.finetune.base import tokenizer_folder
        from npu_jupyter.finetune.datasets.check import check_dataset

        assert request.model is not None
        assert request.dataset is not None
        model = await asyncio.to_thread(self.base, request.model)
        name = await asyncio.to_thread(
            resulting_name, model.name, request.suffix, request.dataset, self._taken
        )
        source = await asyncio.to_thread(find, request.dataset, owner)
        rows = await asyncio.to_thread(incoming_rows, self._registry.root)
        try:
            report = await check_dataset(
                source,
                tokenizer=await asyncio.to_thread(tokenizer_folder, self._registry, model),
                context_length=model.context_length or _CONTEXT_LENGTH,
                recipe=request.recipe,
                columns=request.columns,
                format=request.format,
                snapshot=rows,
                max_bad_rows=request.max_bad_rows,
            )
            job = NewJob(
                owner=owner,
                model_id=model.id,
                model_name=model.name,
                dataset=request.dataset,
                dataset_sha256=report.sha256,
                rows=report.good_rows,
                recipe=request.recipe,
                resulting_name=name,
                idempotency_key=idempotency_key,
                metadata=request.metadata,
            )
            queued = await asyncio.to_thread(self._add, job, rows, None)
            return queued, report
        finally:
            rows.unlink(missing_ok=True)

    def _add(self, job: NewJob, rows: Path, checkpoints: Path | None) -> JobRecord:
        """Queue a job together with its files."""

        def prepare(job_id: int) -> None:
            folder = JobFolder(self._registry.root, job_id)
            # A transaction that failed at its very end leaves a folder, and its number is given
            # out again.
            shutil.rmtree(folder.path, ignore_errors=True)
            folder.path.mkdir(parents=True)
            if checkpoints is None:
                rows.replace(folder.rows)
            else:
                _link(rows, folder.rows)
                shutil.copytree(checkpoints, folder.checkpoints, copy_function=_link)

        with disk_errors_told(self._registry.root, "Queueing the job"):
            queued, _new = self._store.add(job, prepare)
        return queued

    def base(self, model: int | str) -> ModelRecord:
        """Find the model to train.

        Raises:
            ModelNotFound: there is none.
            InvalidRequest: it is not one that can be trained.
        """
        try:
            record = self._registry.find(str(model)) or self._registry.get(model)
        except ModelNotFound as error:
            error.param = "model_id"
            raise
        if record.type is not ModelType.LLM:
            raise InvalidRequest(
                f"{record.name} is an embedding model; only chat models can be fine-tuned.",
                param="model_id",
            )
        if record.parent is not None:
            raise InvalidRequest(
                f"{record.name} is an adapter. Fine-tune its base, {record.parent}.",
                param="model_id",
            )
        return record

    def _taken(self, name: str) -> bool:
        active = self._store.jobs(states=set(JobState) - ENDED)
        return self._registry.find(name) is not None or any(
            job.resulting_name == name for job in active
        )

    def _check_share(self, owner: str) -> None:
        waiting = len(self._store.jobs(owner, {JobState.QUEUED}))
        if self._max_queued and waiting >= self._max_queued:
            raise RateLimited(
                f"{waiting} of your jobs wait already, as many as may. Try again when one has "
                "begun, or stop one.",
                retry_after_s=_RETRY_AFTER_S,
            )

    def _same(self, job: JobRecord, request: StartRequest) -> JobRecord:
        """Give the job that a key was used for, if it is what is asked for now."""
        same_model = request.model in {None, job.model_id, job.model_name, str(job.model_id)}
        same_dataset = request.dataset in {None, job.dataset}
        same_recipe = request.resume_from is not None or request.recipe == job.recipe
        if not (same_model and same_dataset and same_recipe):
            raise Conflict(
                f"This Idempotency-Key was used for job {job.id}, which has other settings. "
                "Send another key for another job.",
                param="Idempotency-Key",
            )
        return job

    # Going on

    def _go_on(self, request: StartRequest, owner: str, idempotency_key: str | None) -> JobRecord:
        """Queue a job that goes on from another's last checkpoint, with the same rows."""
        assert request.resume_from is not None
        job = self._store.get(request.resume_from, owner)
        if job.status not in RESUMABLE:
            raise Conflict(
                f"Job {job.id} is {job.status}; only a failed or stopped job can be gone on from.",
                param="resume_from",
            )
        refuse_changes(job, request)
        folder = JobFolder(self._registry.root, job.id)
        if folder.last_checkpoint is None:
            raise Conflict(
                f"Job {job.id} has no checkpoint yet. Start it anew.", param="resume_from"
            )
        self.base(job.model_id)
        harmless = {name: request.given[name] for name in request.given if name in HARMLESS}
        name = resulting_name(job.model_name, request.suffix, job.dataset, self._taken)
        new = NewJob(
            owner=owner,
            model_id=job.model_id,
            model_name=job.model_name,
            dataset=job.dataset,
            dataset_sha256=job.dataset_sha256,
            rows=job.rows,
            recipe=msgspec.structs.replace(job.recipe, **harmless),
            resulting_name=name,
            idempotency_key=idempotency_key,
            resumed_from=job.id,
            metadata=request.metadata or job.metadata,
        )
        return self._add(new, folder.rows, folder.checkpoints)


def refuse_changes(job: JobRecord, request: StartRequest) -> None:
    """See that a run that goes on is asked to be what it was.

    Raises:
        InvalidRequest: naming the first setting that is another.
    """
    if request.model not in {None, job.model_id, job.model_name}:
        raise _changed(job, "model_id", job.model_name)
    if request.dataset not in {None, job.dataset}:
        raise _changed(job, "dataset", job.dataset)
    for name, value in request.given.items():
        before = getattr(job.recipe, name)
        if name not in HARMLESS and value != before:
            raise _changed(job, name, before)


def _changed(job: JobRecord, name: str, before: object) -> InvalidRequest:
    return InvalidRequest(
        f"{name} was {before} in job {job.id}; a run that goes on keeps it. Leave {name} out, or "
        "start a new job.",
        param=name,
    )


def _link(source: str | Path, target: str | Path) -> None:
    """Have a file in a second place, without its bytes where the disk allows that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
