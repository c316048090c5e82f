"""``npu.FineTune()``: a form that checks a dataset and starts a job, in a cell."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from traitlets import Bool, Dict, Int, Unicode

from npu_jupyter.client import Client
from npu_jupyter.client.finetune import Job
from npu_jupyter.errors import NotFound
from npu_jupyter.widgets.widget import NpuWidget


class FineTune(NpuWidget):
    """Points to a dataset, shows what would be learned of it, and starts the job."""

    _module: ClassVar[str] = "finetune"

    model = Unicode(help="The base model.").tag(sync=True)
    dataset = Unicode(help="A path, or the name of a dataset that was sent.").tag(sync=True)
    suffix = Unicode(help="What the result is called after its base.").tag(sync=True)
    settings = Dict(help="Settings of the recipe, by the names of the API.").tag(sync=True)
    leave_out = Bool(True, help="Whether rows that cannot be used are left out.").tag(sync=True)
    job_id = Int(help="The job that was started; 0 before.").tag(sync=True)

    def __init__(
        self,
        model: str = "",
        dataset: str | Path = "",
        *,
        suffix: str = "",
        client: Client | None = None,
        **settings: float | str | list[str] | None,
    ) -> None:
        """Fill the form; a path is meant from this kernel's folder if there is such a file.

        `settings` are those of ``POST /api/finetune/start``: epochs, learning_rate, lora_r …

        Raises:
            ServerNotFound: no server answers.
        """
        path = Path(dataset)
        here = str(path.resolve()) if dataset and path.exists() else str(dataset)
        super().__init__(client, model=model, dataset=here, suffix=suffix, settings=settings)

    @property
    def job(self) -> Job:
        """The job that was started last.

        Raises:
            NotFound: none was.
        """
        if not self.job_id:
            raise NotFound("No job was started yet: press Start in the form.")
        return self._client.finetune.job(self.job_id)

    def _text(self) -> str:
        return f"FineTune({self.model!r}, {self.dataset!r})"
