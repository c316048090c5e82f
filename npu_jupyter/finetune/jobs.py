"""All that a server has to do with jobs, in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from npu_jupyter.finetune.feed import JobFeed
from npu_jupyter.finetune.start import JobStarter
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.supervisor import Supervisor
from npu_jupyter.registry.store import Registry


class Jobs:
    """The jobs of a data directory: what they are, how they start, who watches them."""

    def __init__(
        self,
        registry: Registry,
        serving: Callable[[], bool],
        make_ready: Callable[[str], Awaitable[None]] | None = None,
        **kwargs: Any,
    ) -> None:
        """Make what is needed; nothing runs yet. See `Supervisor` for what it is told."""
        self.store = JobStore(registry)
        self.supervisor = Supervisor(registry, self.store, serving, make_ready, **kwargs)
        self.starter = JobStarter(
            registry,
            self.store,
            max_queued_per_owner=self.supervisor.max_queued_jobs_per_owner,
        )
        self.feed = JobFeed(self.store)
