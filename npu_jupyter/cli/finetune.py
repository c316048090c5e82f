"""``jupyter npu finetune``: start jobs, watch them, stop them, go on with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from traitlets import Bool, List, Unicode

from npu_jupyter.cli.command import NpuCommand
from npu_jupyter.cli.job_line import JobLine
from npu_jupyter.finetune.datasets.library import Datasets
from npu_jupyter.finetune.jobs import Jobs
from npu_jupyter.finetune.owner import owner_here
from npu_jupyter.finetune.records import ENDED, EventKind, JobRecord, JobState
from npu_jupyter.finetune.request import parse_start
from npu_jupyter.finetune.supervisor import Supervisor
from npu_jupyter.registry.store import Registry

_INTERRUPTED = 130
_LOOK_INTERVAL_S = 0.5
_HEADINGS = ("ID", "MODEL", "DATASET", "STATUS", "STEP", "RESULT")
_SHOWN_LOG_LINES = 10


class FinetuneApp(NpuCommand):
    """Fine-tune a model on a dataset, and look after such jobs.

    jupyter npu finetune start MODEL DATASET   check both, begin, and show how far it is
    jupyter npu finetune list                  all jobs
    jupyter npu finetune status ID             what is known of one
    jupyter npu finetune watch ID              show how far it is, until it ends
    jupyter npu finetune stop ID               stop at the next step; a checkpoint is kept
    jupyter npu finetune resume ID             go on from the last checkpoint
    jupyter npu finetune remove ID             forget one that has ended, with its files

    A job runs in a process of its own: it needs neither this command nor a server, and both may
    end meanwhile. Needs: pip install "npu-jupyter[finetune]"
    """

    name = "jupyter-npu-finetune"
    description = __doc__ or ""
    classes = [Registry, Supervisor, Datasets]
    aliases = {
        **NpuCommand.aliases,
        "epochs": "FinetuneApp.epochs",
        "suffix": "FinetuneApp.suffix",
        "set": "FinetuneApp.settings",
    }
    flags = {
        **NpuCommand.flags,
        "detach": (
            {"FinetuneApp": {"detach": True}},
            "Return as soon as the job is queued, and begun if it need not wait.",
        ),
    }

    epochs = Unicode(help="Passes over the dataset. Empty: 3.").tag(config=True)
    suffix = Unicode(
        help="The result is named MODEL:SUFFIX. Empty: after the dataset.",
    ).tag(config=True)
    settings = List(
        Unicode(),
        help="Other settings as NAME=VALUE, such as lora_r=8; several times for several.",
    ).tag(config=True)
    detach = Bool(False, help="Do not wait for the job's end.").tag(config=True)

    def run(self, registry: Registry) -> None:
        """Do what the first word says."""
        verbs: dict[str, Callable[[list[str]], None]] = {
            "start": self._start,
            "list": self._list,
            "status": self._status,
            "watch": self._watch,
            "stop": self._stop,
            "resume": self._resume,
            "remove": self._remove,
        }
        verb, *arguments = self.extra_args or ["list"]
        if verb not in verbs:
            self.fail(f"there is no {verb!r}; there are: {', '.join(verbs)}")
        # Whoever runs the command may read what it names: the system sees to that.
        here = Path.cwd()
        self._datasets = Datasets(registry.root, roots=[str(here), here.anchor], parent=self)
        self._jobs = Jobs(registry, lambda: False, parent=self)
        verbs[verb](arguments)

    # The words

    def _start(self, words: list[str]) -> None:
        if len(words) != 2:  # noqa: PLR2004 - a model and a dataset
            self.fail("name a model and a dataset: jupyter npu finetune start MODEL DATASET")
        fields = {"model_id": words[0], "dataset": words[1], **self._fields()}
        request = parse_start(fields, as_text=True)
        starting = self._jobs.starter.start(request, owner_here(), self._datasets.find)
        job, report = asyncio.run(starting)
        if report is not None:
            print(f"{report.found}: {report.good_rows:,} of {report.rows:,} rows are good.")
        print(f"Job {job.id} trains {job.resulting_name}.")
        self._go(job.id)

    def _fields(self) -> dict[str, str]:
        fields = {}
        for setting in self.settings:
            name, equals, value = setting.partition("=")
            if not equals:
                self.fail(f"--set takes NAME=VALUE, not {setting!r}")
            fields[name.replace("-", "_")] = value
        named = {"epochs": self.epochs, "suffix": self.suffix}
        return fields | {name: value for name, value in named.items() if value}

    def _list(self, _words: list[str]) -> None:
        jobs = self._jobs.store.jobs()
        if not jobs:
            print("There is no job yet. Start one: jupyter npu finetune start MODEL DATASET")
            return
        rows = [_HEADINGS, *map(_row, jobs)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())

    def _status(self, words: list[str]) -> None:
        job = self._job(words)
        facts = {
            "job": f"{job.id}, {job.model_name} on {job.dataset} ({job.rows:,} rows)",
            "status": f"{job.status} {job.stage}",
            "step": f"{job.current_step} of {job.total_steps or '?'}",
            "error": job.error,
            "result": job.resulting_model,
        }
        for name, fact in facts.items():
            if fact:
                print(f"{name:<8}{fact}")
        log = self._jobs.store.events(job.id, kinds={EventKind.LOG})
        for event in log[-_SHOWN_LOG_LINES:]:
            print(f"{'log':<8}{event.data.get('message')}")

    def _watch(self, words: list[str]) -> None:
        self._follow(self._job(words).id)

    def _stop(self, words: list[str]) -> None:
        job = self._jobs.store.request_stop(self._job(words).id)
        print(f"Job {job.id} is told to stop.")
        self._go(job.id)

    def _resume(self, words: list[str]) -> None:
        job = self._jobs.store.request_resume(self._job(words).id)
        self._go(job.id)

    def _remove(self, words: list[str]) -> None:
        job = self._job(words)
        self._jobs.supervisor.remove(job.id)
        print(f"Job {job.id} is removed.")

    def _job(self, words: list[str]) -> JobRecord:
        if len(words) != 1 or not words[0].isdecimal():
            self.fail("name one job by its number. See: jupyter npu finetune list")
        return self._jobs.store.get(int(words[0]))

    # Waiting

    def _go(self, job_id: int) -> None:
        """Begin what can begin, and wait unless told not to."""
        if not self.detach:
            self._follow(job_id)
            return
        self._jobs.supervisor.look()
        job = self._jobs.store.get(job_id)
        waits = " A server begins it when its turn comes." if job.status is JobState.QUEUED else ""
        print(f"Job {job_id} is {job.status}.{waits} See: jupyter npu finetune watch {job_id}")

    def _follow(self, job_id: int) -> None:
        """Look after jobs, as a server would, and show this one until it has ended."""
        try:
            with JobLine(job_id) as line:
                after = 0
                while True:
                    self._jobs.supervisor.look()
                    job = self._jobs.store.get(job_id)
                    events = self._jobs.store.events(job_id, after)
                    after = events[-1].id if events else after
                    line.update(job, events)
                    if job.status in ENDED:
                        break
                    time.sleep(_LOOK_INTERVAL_S)
        except KeyboardInterrupt:
            self.log.critical(
                "Job %s goes on without this command. Watch it: jupyter npu finetune watch %s, "
                "stop it: jupyter npu finetune stop %s",
                *[job_id] * 3,
            )
            self.exit(_INTERRUPTED)
        else:
            self._tell_end(job)

    def _tell_end(self, job: JobRecord) -> None:
        match job.status:
            case JobState.COMPLETED:
                print(f"{job.resulting_model} is ready.")
            case JobState.STOPPED:
                print(f"Job {job.id} is stopped. Go on: jupyter npu finetune resume {job.id}")
            case _:
                self.fail(f"job {job.id} has failed. {job.error}")


def _row(job: JobRecord) -> tuple[str, ...]:
    return (
        str(job.id),
        job.model_name,
        job.dataset,
        job.status,
        f"{job.current_step}/{job.total_steps or '?'}",
        job.resulting_model or "-",
    )
