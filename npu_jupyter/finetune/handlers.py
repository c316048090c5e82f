"""``/api/finetune``: start jobs, watch them, stop them, go on with them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from pydantic import Field

from npu_jupyter.access import allowed
from npu_jupyter.errors import Conflict, InvalidRequest
from npu_jupyter.finetune import describe
from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.owner import owner_here
from npu_jupyter.finetune.records import ENDED, JobRecord
from npu_jupyter.finetune.request import MAX_ID, StartRequest, parse_start
from npu_jupyter.finetune.start import refuse_changes
from npu_jupyter.handler import NpuHandler
from npu_jupyter.json_object import parse_object
from npu_jupyter.keys import KERNEL_KEY_ID
from npu_jupyter.registry.names import check_name
from npu_jupyter.v1.schema import Body, ModelName
from npu_jupyter.v1.sse import EventStream, frame

if TYPE_CHECKING:
    from npu_jupyter.finetune.datasets.report import DatasetReport
    from npu_jupyter.finetune.jobs import Jobs

_MAX_KEY_LENGTH = 200
_MAX_ID_DIGITS = 18
_FORMS = {"application/x-www-form-urlencoded", "multipart/form-data"}
_LISTS = {"target_modules", "sample_prompts", "report_to"}
_OBJECTS = {"columns", "metadata"}


class JobHandler(NpuHandler):
    """What the calls about jobs share: each caller has his own."""

    @property
    def jobs(self) -> Jobs:
        """The jobs of this data directory."""
        return self.extensionapp.jobs

    @property
    def owner(self) -> str:
        """Whose jobs the caller's are; a kernel's are those of whom the server belongs to."""
        from_kernel = self.api_key is not None and self.api_key.id == KERNEL_KEY_ID
        return owner_here() if from_kernel else self.caller.name

    async def job(self, job_id: str) -> JobRecord:
        """Look a job of the caller's up.

        Raises:
            NotFound: he has none of that id.
        """
        return await asyncio.to_thread(self.jobs.store.get, int(job_id), self.owner)

    async def start_job(self, request: StartRequest) -> tuple[JobRecord, DatasetReport | None]:
        """Queue a job, and begin it at once if it need not wait.

        Raises:
            NpuError: naming the field, or the rows, that stand against it.
        """
        key = self.request.headers.get("Idempotency-Key")
        if key is not None and not 0 < len(key) <= _MAX_KEY_LENGTH:
            raise InvalidRequest(
                f"The header Idempotency-Key must have 1 to {_MAX_KEY_LENGTH} characters.",
                param="Idempotency-Key",
            )
        datasets = self.extensionapp.datasets
        async with datasets.checks:
            job, report = await self.jobs.starter.start(request, self.owner, datasets.find, key)
        return await self.look(job), report

    async def look(self, job: JobRecord) -> JobRecord:
        """Have the supervisor look at once; give the job as it is then."""
        await self.jobs.supervisor.attempt()
        self.jobs.supervisor.wake()
        return await asyncio.to_thread(self.jobs.store.get, job.id)


class StartHandler(JobHandler):
    """Starts jobs."""

    route = "/api/finetune/start"

    @allowed("execute", "npu:finetune")
    async def post(self) -> None:
        """Check model, settings and the whole dataset, and queue the job."""
        await self.while_connected(self._start())

    async def _start(self) -> None:
        fields, as_text = self._fields()
        job, report = await self.start_job(parse_start(fields, as_text=as_text))
        told = {
            "job_id": job.id,
            "status": job.status,
            "model_name": job.model_name,
            "resulting_name": job.resulting_name,
            "rows": job.rows,
            "resumed_from": job.resumed_from,
            "report": report,
        }
        self.finish(msgspec.json.encode(told))

    def _fields(self) -> tuple[dict[str, Any], bool]:
        """Read JSON or a form; give the fields, and whether all are texts.

        Raises:
            PermissionDenied: a form of a page from elsewhere, which no browser asks about.
        """
        content_type = self.request.headers.get("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() not in _FORMS:
            return self.json_body(), False
        self.refuse_foreign_form()
        return _form(self.request.body_arguments), True


def _form(arguments: dict[str, list[bytes]]) -> dict[str, Any]:
    """Make fields of a form: one that was left empty was not sent."""
    fields: dict[str, Any] = {}
    for name, values in arguments.items():
        try:
            texts = [value.decode() for value in values if value]
        except UnicodeDecodeError:
            raise InvalidRequest(f"{name} is not UTF-8.", param=name) from None
        if texts and name in _LISTS:
            fields[name] = texts
        elif texts and name in _OBJECTS:
            fields[name] = parse_object(values[-1])
        elif texts:
            fields[name] = texts[-1]
    return fields


class JobsHandler(JobHandler):
    """Lists jobs."""

    route = "/api/finetune/jobs"
    _track_activity = False

    @allowed("read", "npu:finetune")
    async def get(self) -> None:
        """List the caller's jobs, the newest first."""
        jobs = await asyncio.to_thread(self.jobs.store.jobs, self.owner)
        told = {"jobs": [describe.summary(job) for job in reversed(jobs)]}
        self.finish(msgspec.json.encode(told))


class RemovalHandler(JobHandler):
    """Removes jobs."""

    route = "/api/finetune/jobs/{id}"

    @allowed("write", "npu:finetune")
    async def delete(self, job_id: str) -> None:
        """Forget a job that has ended, with its files; the model that it made stays."""
        job = await self.job(job_id)
        await asyncio.to_thread(self.jobs.supervisor.remove, job.id)
        self.finish(msgspec.json.encode({"job_id": job.id, "status": "removed"}))


class StatusHandler(JobHandler):
    """Tells all of a job."""

    route = "/api/finetune/status/{id}"
    _track_activity = False

    @allowed("read", "npu:finetune")
    async def get(self, job_id: str) -> None:
        """Tell of a job, with its history after the event ``?after=``."""
        job = await self.job(job_id)
        after = event_id(self.get_query_argument("after", "0"), "after")
        self.finish(await asyncio.to_thread(self._told, job, after))

    def _told(self, job: JobRecord, after: int) -> bytes:
        return msgspec.json.encode(describe.whole(job, self.jobs.store.events(job.id, after)))


class StopHandler(JobHandler):
    """Stops jobs."""

    route = "/api/finetune/stop/{id}"

    @allowed("execute", "npu:finetune")
    async def post(self, job_id: str) -> None:
        """Stop a job at its next step; its last checkpoint is kept."""
        job = await self.job(job_id)
        job = await asyncio.to_thread(self.jobs.store.request_stop, job.id)
        job = await self.look(job)
        self.finish(msgspec.json.encode({"job_id": job.id, "status": job.status}))


class ResumeHandler(JobHandler):
    """Goes on with jobs."""

    route = "/api/finetune/resume/{id}"

    @allowed("execute", "npu:finetune")
    async def post(self, job_id: str) -> None:
        """Queue a failed or stopped job again; it goes on from its last checkpoint."""
        job = await self.job(job_id)
        fields = self.json_body() if self.request.body else {}
        refuse_changes(job, parse_start(fields | {"resume_from": job.id}))
        job = await asyncio.to_thread(self.jobs.store.request_resume, job.id)
        job = await self.look(job)
        self.finish(msgspec.json.encode({"job_id": job.id, "status": job.status}))


class ExportBody(Body):
    """The body of ``POST /api/finetune/export``."""

    job_id: Annotated[int, Field(ge=1, le=MAX_ID)]
    precision: Literal["int8", "int4"] | None = None
    name: ModelName | None = None


class ExportHandler(JobHandler):
    """Makes models of their own of what jobs have made."""

    route = "/api/finetune/export"

    @allowed("execute", "npu:finetune")
    async def post(self) -> None:
        """Begin to merge a job's adapter into its base, as an import that can be watched."""
        body = ExportBody.parse(self.json_body())
        job = await self.job(str(body.job_id))
        folder = JobFolder(self.engine.registry.root, job.id)
        trained = folder.adapter.is_dir() or folder.whole.is_dir()
        if job.status not in ENDED or not trained:
            raise Conflict(f"Job {job.id} is {job.status}, and has nothing to export.")
        precision = body.precision or job.recipe.export_precision
        name = body.name or f"{job.resulting_model or job.resulting_name}-{precision}"
        pull = self.extensionapp.pulls.start(f"job:{job.id}", check_name(name), precision)
        self.set_status(202)
        self.finish(msgspec.json.encode(pull.describe()))


class JobEventsHandler(JobHandler):
    """Streams a job's history and what is added to it."""

    route = "/api/finetune/events/{id}"
    _track_activity = False

    @allowed("read", "npu:finetune")
    async def get(self, job_id: str) -> None:
        """Send events from the start or from ``Last-Event-ID``, until the job has ended."""
        job = await self.job(job_id)
        last = self.request.headers.get("Last-Event-ID", "0")
        await self.while_connected(self._stream(job, event_id(last, "Last-Event-ID")))

    async def _stream(self, job: JobRecord, after: int) -> None:
        listening = self.jobs.feed.listen(job.id, after)
        async with aclosing(listening) as events, EventStream(self, hold_s=0) as stream:
            async for told in events:
                await stream.send(frame(describe.event(told), event_id=told.id))


def event_id(text: str, field: str) -> int:
    """Read the id of an event.

    Raises:
        InvalidRequest: naming the field.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_ID_DIGITS):
        raise InvalidRequest(f"{field} must be the id of an event, not {text[:40]!r}.", param=field)
    return int(text)
