"""``npu.Monitor()``: a fine-tuning job as it goes, in a cell."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from traitlets import Float, Int

from npu_jupyter.client import Client
from npu_jupyter.client.finetune import Job
from npu_jupyter.errors import NpuError
from npu_jupyter.widgets.job_picture import job_html
from npu_jupyter.widgets.widget import NpuWidget

_SMOOTHING = 0.8


class Monitor(NpuWidget):
    """A job's curves, answers and log. The server holds them: any cell may show them again."""

    _module: ClassVar[str] = "monitor"

    job_id = Int(help="The job's number.").tag(sync=True)
    smoothing = Float(_SMOOTHING, min=0, max=0.99, help="Weight of what was before.").tag(sync=True)

    def __init__(self, job: int | Job, *, client: Client | None = None) -> None:
        """Watch a job, by its number or as `client.finetune.start` gave it.

        Raises:
            ServerNotFound: no server answers.
        """
        super().__init__(client, job_id=job if isinstance(job, int) else job.id)
        self._kept: list[Any] = []
        """Handles of the outputs that stay."""

    def _ipython_display_(self) -> None:
        """Show the widget, and below it what a saved notebook keeps of a job that has ended.

        While the widget is alive its style sheet hides that copy.
        """
        import IPython.display

        show: Any = IPython.display.display
        data, metadata = self._repr_mimebundle_()
        show(data, metadata=metadata, raw=True)
        self._kept.append(show({"text/html": self._ended_html()}, raw=True, display_id=True))

    def _taken(self, widget: object, message: dict[str, Any], buffers: object) -> None:
        if message.get("ended"):
            # Asks the server, which a comm's callback must not wait for.
            threading.Thread(target=self._keep, daemon=True).start()
        else:
            super()._taken(widget, message, buffers)

    def _keep(self) -> None:
        html = self._ended_html()
        for handle in self._kept:
            handle.update({"text/html": html}, raw=True)

    def _ended_html(self) -> str:
        job = self._job()
        return job_html(job.facts) if job and job.facts.over else '<div class="npu-kept"></div>'

    def _job(self) -> Job | None:
        try:
            return self._client.finetune.job(self.job_id)
        except NpuError:
            return None

    def _text(self) -> str:
        return f"Monitor({self.job_id})\n{self._job() or 'The server does not know this job.'!r}"
