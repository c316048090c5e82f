"""Fine-tuning jobs, for asyncio. The twin that waits is `finetune`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from npu_jupyter.client import dataset_calls, history, jobs, views
from npu_jupyter.client.answers import Event
from npu_jupyter.client.dataset_calls import Dataset, DatasetReport
from npu_jupyter.client.jobs import JobFacts
from npu_jupyter.client.transport import AsyncTransport
from npu_jupyter.client.waiting import POLL_S, JobProgress, job_progress

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class AsyncJob(jobs.Described):
    """A fine-tuning job on the server, as it was when last asked for."""

    def __init__(self, transport: AsyncTransport, facts: JobFacts) -> None:
        """Hold what is known."""
        self._transport = transport
        self.facts = facts

    async def refresh(self) -> AsyncJob:
        """Ask the server how it is now."""
        self.facts = await self._transport.send(jobs.one(self.id))
        return self

    async def metrics(self) -> pd.DataFrame:
        """Give what was measured so far, by step.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return history.frame((await self.refresh()).facts.metrics)

    async def plot(self) -> Figure:
        """Draw loss and learning rate so far.

        Raises:
            MissingExtra: matplotlib or pandas is not installed.
        """
        return history.figure(await self.metrics(), views.card_text(views.job_card(self.facts)))

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Follow metrics, log and status from the start, until the job has ended."""
        async with aclosing(self._transport.stream(jobs.events(self.id))) as events:
            async for event in events:
                if isinstance(event, Event):
                    yield event.data

    async def wait(self, *, progress: JobProgress | None = None) -> AsyncJob:
        """Wait for the end; interrupting leaves the job running.

        `progress` is called with the facts every second; without it there is a bar.
        """
        with job_progress(self.id, progress) as tell:
            while not (await self.refresh()).facts.over:
                tell(self.facts)
                await asyncio.sleep(POLL_S)
            tell(self.facts)
        return self

    async def stop(self) -> AsyncJob:
        """Stop at the next step; the last checkpoint is kept.

        Raises:
            NpuError: it has ended already.
        """
        await self._transport.send(jobs.stop(self.id))
        return await self.refresh()

    async def resume(self, **settings: Any) -> AsyncJob:
        """Go on from the last checkpoint, with other settings if they are given.

        Raises:
            NpuError: there is no checkpoint, or it has not ended.
        """
        job_id = await self._transport.send(jobs.resume(self.id, settings))
        return AsyncJob(self._transport, await self._transport.send(jobs.one(job_id)))


class AsyncJobList(views.Shown, list[AsyncJob]):
    """Jobs, shown as a table."""

    def _view(self) -> views.Table:
        return views.job_table([job.facts for job in self])

    __repr__ = views.Shown._repr_plain_


class AsyncFineTuning:
    """The fine-tuning jobs of a server."""

    def __init__(self, transport: AsyncTransport) -> None:
        """Speak to the server that `transport` reaches."""
        self._transport = transport

    async def start(self, model: str | int, dataset: Any, **settings: Any) -> AsyncJob:
        """Start a job: a model by name or registry id, on a dataset.

        `dataset` is a name, path or hub's repository that the server knows; or a DataFrame, a list
        of dicts or a `Path` here, which is sent. `settings` are those of
        ``POST /api/finetune/start``: epochs, learning_rate, lora_r, suffix …

        Raises:
            InvalidRequest: naming the field, or the rows of the dataset that cannot be read.
        """
        name = await self._sent(dataset)
        job_id = await self._transport.send(jobs.start(model, name, settings))
        return await self.job(job_id)

    async def check(self, model: str | int, dataset: Any, **settings: Any) -> DatasetReport:
        """Read and render every row of a dataset for a model, and start nothing.

        Raises:
            InvalidRequest: it is no dataset.
        """
        name = await self._sent(dataset)
        return await self._transport.send(dataset_calls.check(model, name, settings))

    async def upload(self, dataset: Any, name: str | None = None) -> Dataset:
        """Send a DataFrame, a list of dicts or a file, over a dataset of the same name.

        Raises:
            InvalidRequest: it is nothing of these, or the name is none.
        """
        given, content = dataset_calls.to_send(dataset)
        return await self._transport.send(dataset_calls.upload(name or given, content))

    async def datasets(self) -> list[Dataset]:
        """List the datasets that were sent."""
        return await self._transport.send(dataset_calls.datasets())

    async def remove_dataset(self, name: str) -> None:
        """Remove a dataset that was sent; jobs keep the rows that they took from it.

        Raises:
            NotFound: there is none.
        """
        await self._transport.send(dataset_calls.remove(name))

    async def _sent(self, dataset: Any) -> str:
        """Give the name under which the server has a dataset, once it has it."""
        if isinstance(dataset, str):
            return dataset
        return (await self.upload(dataset)).name

    async def jobs(self) -> AsyncJobList:
        """List jobs, the newest first."""
        return AsyncJobList(
            AsyncJob(self._transport, facts) for facts in await self._transport.send(jobs.every())
        )

    async def job(self, job_id: int) -> AsyncJob:
        """Give a job by its number.

        Raises:
            NotFound: there is none.
        """
        return AsyncJob(self._transport, await self._transport.send(jobs.one(job_id)))

    async def stop(self, job_id: int) -> AsyncJob:
        """Stop a job at its next step; its last checkpoint is kept.

        Raises:
            NpuError: there is none, or it has ended.
        """
        return await (await self.job(job_id)).stop()

    async def resume(self, job_id: int, **settings: Any) -> AsyncJob:
        """Go on from a job's last checkpoint.

        Raises:
            NpuError: there is no checkpoint, or it has not ended.
        """
        return await (await self.job(job_id)).resume(**settings)
