"""What a fine-tuning job made, merged into its base: a model of its own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from npu_jupyter.errors import InvalidModel, InvalidRequest, MissingExtra
from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.registry.child import ChildDied, run_child
from npu_jupyter.registry.folder import Form
from npu_jupyter.registry.sources.source import Found, Source, Workspace, digest

_CONFIG = "adapter_config.json"
_BASE_PARTS = 3
"""Of the base's path, those below the data directory, which may have been moved."""


class JobSource(Source):
    """The adapter of a job and the base that it was trained on, or the whole model."""

    def __init__(self, job_id: int) -> None:
        """Name a job."""
        self.job_id = job_id
        self.text = f"job:{job_id}"

    @classmethod
    def parse(cls, text: str) -> JobSource:
        """Read the number after ``job:``; raise `ValueError`."""
        if not text.isdecimal():
            raise ValueError(f"{text!r} is not the number of a job")
        return cls(int(text))

    def fetch(self, workspace: Workspace) -> Found:
        """Merge the adapter into its base, in a process of its own; a whole model is there."""
        folder = JobFolder(workspace.data_dir, self.job_id)
        if folder.whole.is_dir():
            return self._found(folder.whole, folder.whole, workspace)
        adapter = folder.adapter
        if not (adapter / _CONFIG).is_file():
            raise InvalidRequest(
                f"Job {self.job_id} has nothing to export: it did not get to its end, or its "
                "files were deleted.",
                param="job_id",
            )
        if importlib.util.find_spec("peft") is None:
            raise MissingExtra("Merging an adapter", "finetune")
        merged = workspace.folder / "merged"
        request = {
            "base": str(_base_of(adapter, workspace.data_dir)),
            "adapter": str(adapter),
            "out": str(merged),
        }
        try:
            run_child(
                "npu_jupyter.finetune.trainer.merger",
                request,
                report=workspace.report,
                cancelled=workspace.cancelled,
            )
        except ChildDied as error:
            raise InvalidModel(
                f"Merging the adapter of job {self.job_id} ended early. {error.message} It holds "
                "the whole model in memory at 4 bytes a weight; free some and try again."
            ) from error
        return self._found(merged, adapter, workspace)

    def _found(self, path: Path, content: Path, workspace: Workspace) -> Found:
        """Give the Hugging Face folder `path`, known again by `content`."""
        return Found(
            Form.HUGGING_FACE,
            path,
            self.text,
            f"job-{self.job_id}",
            digest(content, workspace.cancelled),
            ours=path.is_relative_to(workspace.folder),
        )


def _base_of(adapter: Path, data_dir: Path) -> Path:
    config = json.loads((adapter / _CONFIG).read_text(encoding="utf-8"))
    base = Path(config["base_model_name_or_path"])
    here = data_dir.joinpath(*base.parts[-_BASE_PARTS:])
    if not here.is_dir():
        raise InvalidRequest(
            f"The base of this adapter is no longer prepared at {here}. Start any fine-tuning "
            "job of the same base, which prepares it, and export again.",
            param="job_id",
        )
    return here
