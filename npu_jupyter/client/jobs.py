"""What is told of a fine-tuning job, and the calls that ask for it: once, for both clients."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from npu_jupyter.client import views
from npu_jupyter.client.calls import Call

_ENDED = frozenset({"completed", "failed", "stopped"})


class JobFacts(Struct, frozen=True, kw_only=True):
    """A job as of the moment it was asked for."""

    id: int
    model_name: str = ""
    dataset: str = ""
    status: str = ""
    """``queued``, ``initializing``, ``running``, ``stopping``, ``completed``, ``failed`` or
    ``stopped``."""
    stage: str = ""
    """What it does within its state, in a word or two."""
    created_at: float = 0.0
    """Unix time in seconds."""
    current_step: int = 0
    total_steps: int = 0
    """0 until known."""
    current_epoch: float = 0.0
    eta_seconds: float | None = None
    error: str | None = None
    resulting_model: str | None = None
    """The name of the model that it made, once that is registered."""
    config: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    """One for each step that was told of; empty in lists of jobs."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Answers to fixed prompts as training went on."""
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in _ENDED


def facts(answer: Any) -> JobFacts:
    """Read a job."""
    return msgspec.convert(answer, JobFacts, strict=False)


def start(model: str | int, dataset: str, settings: dict[str, Any]) -> Call[int]:
    """Start a job."""
    body = {"model_id": model, "dataset": dataset, **settings}
    return Call("POST", "/api/finetune/start", _job_id, body)


def _job_id(answer: dict[str, Any]) -> int:
    return int(answer["job_id"])


def every() -> Call[list[JobFacts]]:
    """List jobs."""
    return Call("GET", "/api/finetune/jobs", lambda answer: [facts(job) for job in answer["jobs"]])


def one(job_id: int) -> Call[JobFacts]:
    """Ask for all of a job."""
    return Call("GET", f"/api/finetune/status/{job_id}", facts)


def stop(job_id: int) -> Call[Any]:
    """Stop a job at its next step."""
    return Call("POST", f"/api/finetune/stop/{job_id}", lambda answer: answer, {})


def resume(job_id: int, settings: dict[str, Any]) -> Call[int]:
    """Go on from a job's last checkpoint."""
    return Call("POST", f"/api/finetune/resume/{job_id}", _job_id, settings)


def events(job_id: int) -> Call[dict[str, Any]]:
    """Follow a job from its start."""
    return Call("GET", f"/api/finetune/events/{job_id}", lambda answer: answer)


class Described(views.Shown):
    """A job's card, and its facts by name."""

    __slots__ = ()

    facts: JobFacts

    def _repr_html_(self) -> str:
        return views.cards([views.job_card(self.facts)])

    def _repr_markdown_(self) -> str:
        return views.card_markdown(views.job_card(self.facts))

    def __repr__(self) -> str:
        return views.card_text(views.job_card(self.facts))

    @property
    def id(self) -> int:
        """The number under which the server knows it."""
        return self.facts.id

    @property
    def status(self) -> str:
        """The state when it was last asked for; `refresh` asks again."""
        return self.facts.status

    @property
    def resulting_model(self) -> str | None:
        """The name of the model that it made, once that is registered."""
        return self.facts.resulting_model
