"""``/v1/fine_tuning/jobs``: the same jobs as ``/api/finetune``, as OpenAI's clients know them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BeforeValidator, Field

from npu_jupyter.access import allowed
from npu_jupyter.errors import NotFound, NpuError
from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.handlers import JobHandler
from npu_jupyter.finetune.names import MAX_SUFFIX_LENGTH
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.records import EventKind, JobRecord
from npu_jupyter.finetune.request import Metadata, StartRequest, Text
from npu_jupyter.v1 import fine_tuning_wire as wire
from npu_jupyter.v1.pages import page
from npu_jupyter.v1.refusals import FINE_TUNING_REFUSALS, refuse
from npu_jupyter.v1.schema import Body, ModelName

_MAX_EPOCHS = 50
_MAX_BATCH_SIZE = 256
_MAX_MULTIPLIER = 1000
_PARAMS = {"model_id": "model", "dataset": "training_file"}
"""Our fields by the names that were used here."""


def _auto(value: Any) -> Any:
    return None if value == "auto" else value


Epochs = Annotated[int, Field(ge=1, le=_MAX_EPOCHS)]
BatchSize = Annotated[int, Field(ge=1, le=_MAX_BATCH_SIZE)]
Multiplier = Annotated[float, Field(gt=0, le=_MAX_MULTIPLIER, allow_inf_nan=False)]


class Hyperparameters(Body):
    """What OpenAI lets callers choose; ``auto`` is our default."""

    n_epochs: Annotated[Epochs | None, BeforeValidator(_auto)] = None
    batch_size: Annotated[BatchSize | None, BeforeValidator(_auto)] = None
    learning_rate_multiplier: Annotated[Multiplier | None, BeforeValidator(_auto)] = None

    def settings(self) -> dict[str, Any]:
        """Say the same in a recipe's words."""
        multiplier = self.learning_rate_multiplier
        rate = None if multiplier is None else multiplier * wire.DEFAULTS.learning_rate
        told = {
            "epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate": rate,
        }
        return {name: value for name, value in told.items() if value is not None}


class Supervised(Body):
    """The settings of the one method that there is."""

    hyperparameters: Hyperparameters | None = None


class Method(Body):
    """How to train."""

    type: Literal["supervised"]
    supervised: Supervised | None = None


class CreateBody(Body):
    """The body of ``POST /v1/fine_tuning/jobs``."""

    model: ModelName
    training_file: Text
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=MAX_SUFFIX_LENGTH)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None

    def request(self) -> StartRequest:
        """Say the same as a job of ours."""
        chosen = self.hyperparameters
        if self.method and self.method.supervised and self.method.supervised.hyperparameters:
            chosen = self.method.supervised.hyperparameters
        settings = chosen.settings() if chosen else {}
        if self.seed is not None:
            settings["seed"] = self.seed
        return StartRequest(
            model=self.model,
            dataset=self.training_file,
            recipe=msgspec.convert(settings, Recipe),
            suffix=self.suffix,
            metadata=dict(self.metadata or {}),
        )


class FineTuningHandler(JobHandler):
    """What the calls about one job share."""

    async def named(self, name: str) -> JobRecord:
        """Look a job of the caller's up by OpenAI's kind of id.

        Raises:
            NotFound: he has none of that id.
        """
        job_id = wire.job_number(name)
        if job_id is None:
            raise NotFound(f"There is no fine-tuning job {name[:64]!r}.")
        return await self.job(str(job_id))

    def tell(self, job: JobRecord) -> None:
        """Answer with a job."""
        self.finish(msgspec.json.encode(wire.job(job)))


class FineTuningJobsHandler(FineTuningHandler):
    """Creates jobs, and lists them."""

    route = "/v1/fine_tuning/jobs"

    @allowed("read", "npu:finetune")
    async def get(self) -> None:
        """List the caller's jobs, the newest first."""
        jobs = await asyncio.to_thread(self.jobs.store.jobs, self.owner)
        told = page(self, [wire.job(job) for job in reversed(jobs)])
        self.finish(msgspec.json.encode(told))

    @allowed("execute", "npu:finetune")
    async def post(self) -> None:
        """Check model, settings and the whole file, and queue the job."""
        await self.while_connected(self._create())

    async def _create(self) -> None:
        fields = self.json_body()
        refuse(fields, FINE_TUNING_REFUSALS)
        request = CreateBody.parse(fields).request()
        try:
            job, _report = await self.start_job(request)
        except NpuError as error:
            error.param = _PARAMS.get(error.param or "", error.param)
            raise
        self.tell(job)


class FineTuningJobHandler(FineTuningHandler):
    """Tells of one job."""

    route = "/v1/fine_tuning/jobs/{id}"
    _track_activity = False

    @allowed("read", "npu:finetune")
    async def get(self, name: str) -> None:
        """Describe a job."""
        self.tell(await self.named(name))


class CancelHandler(FineTuningHandler):
    """Ends jobs for good, or until they are resumed."""

    route = "/v1/fine_tuning/jobs/{id}/cancel"

    @allowed("execute", "npu:finetune")
    async def post(self, name: str) -> None:
        """Stop a job at its next step; its last checkpoint is kept."""
        job = await self.named(name)
        self.tell(await self.look(await asyncio.to_thread(self.jobs.store.request_stop, job.id)))


class PauseHandler(CancelHandler):
    """Ends jobs until they are resumed, which is the same."""

    route = "/v1/fine_tuning/jobs/{id}/pause"

    post = CancelHandler.post


class ResumeHandler(FineTuningHandler):
    """Goes on with jobs."""

    route = "/v1/fine_tuning/jobs/{id}/resume"

    @allowed("execute", "npu:finetune")
    async def post(self, name: str) -> None:
        """Queue a job again that failed or was stopped; it goes on from its last checkpoint."""
        job = await self.named(name)
        self.tell(await self.look(await asyncio.to_thread(self.jobs.store.request_resume, job.id)))


class EventsHandler(FineTuningHandler):
    """Lists what happened to a job."""

    route = "/v1/fine_tuning/jobs/{id}/events"
    _track_activity = False

    @allowed("read", "npu:finetune")
    async def get(self, name: str) -> None:
        """List a job's events, the newest first."""
        job = await self.named(name)
        events = await asyncio.to_thread(self.jobs.store.events, job.id)
        told = page(self, [wire.event(event) for event in reversed(events)])
        self.finish(msgspec.json.encode(told))


class CheckpointsHandler(FineTuningHandler):
    """Lists the checkpoints of a job."""

    route = "/v1/fine_tuning/jobs/{id}/checkpoints"
    _track_activity = False

    @allowed("read", "npu:finetune")
    async def get(self, name: str) -> None:
        """List the checkpoints that are kept, the newest first."""
        job = await self.named(name)
        told = page(self, await asyncio.to_thread(self._kept, job), default_limit=10)
        self.finish(msgspec.json.encode(told))

    def _kept(self, job: JobRecord) -> list[dict[str, Any]]:
        folder = JobFolder(self.engine.registry.root, job.id)
        # A job that went on after a loss may have written a step twice.
        by_step = {
            event.data["step"]: event
            for event in self.jobs.store.events(job.id, kinds={EventKind.CHECKPOINT})
        }
        return [
            wire.checkpoint(job, by_step[step])
            for step in sorted(by_step, reverse=True)
            if folder.checkpoint(step).is_dir()
        ]
