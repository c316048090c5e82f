"""From a trained model to one that is served: saved, compared with what is served, published."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from npu_jupyter.finetune.base import Base
from npu_jupyter.finetune.folder import JobFolder
from npu_jupyter.finetune.parity import check_parity, require_parity
from npu_jupyter.finetune.publish import free_name, publish_adapter
from npu_jupyter.finetune.records import CHECKING, JobRecord, JobState
from npu_jupyter.finetune.store import JobStore
from npu_jupyter.finetune.trainer.examples import Tokens
from npu_jupyter.finetune.trainer.faults import Faults
from npu_jupyter.finetune.trainer.merging import save_whole
from npu_jupyter.finetune.trainer.preparing import Prepared
from npu_jupyter.registry.records import SERVED_ADAPTER, ModelRecord, PullProgress
from npu_jupyter.registry.store import Registry

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_COMPARED_PROMPTS = 16
_PROMPT_TOKENS = 512


class Finish:
    """The end of a job whose training is done."""

    def __init__(
        self,
        registry: Registry,
        store: JobStore,
        folder: JobFolder,
        job: JobRecord,
        *,
        base: Base,
        prepared: Prepared,
        checkpoint: Path,
        faults: Faults,
    ) -> None:
        """Finish `job` with the weights of `checkpoint`, which `prepared.model` holds."""
        self._registry = registry
        self._store = store
        self._folder = folder
        self._job = job
        self._base = base
        self._prepared = prepared
        self._checkpoint = checkpoint
        self._faults = faults
        self._source = f"job:{job.id}"

    def run(self) -> None:
        """Save, check and publish; then the job is completed.

        Raises:
            NpuError: when what would be served is not what was trained, or cannot be kept.
        """
        model = self._published() or self._make()
        self._store.move(
            self._job.id,
            JobState.COMPLETED,
            expected={JobState.RUNNING, JobState.STOPPING},
            resulting_model=model.name,
        )

    def _published(self) -> ModelRecord | None:
        """Find what an attempt that was killed after it had published left."""
        models = self._registry.models()
        return next((model for model in models if model.source == self._source), None)

    def _make(self) -> ModelRecord:
        self._stage("saving")
        if self._job.recipe.use_lora:
            self._save_adapter()
        base = self._registry.get(self._job.model_id)
        name = self._job.resulting_name
        if not self._job.recipe.served_as_adapter:
            return self._make_merged(name)
        self._stage(CHECKING)
        self._check()
        self._publishing()
        return publish_adapter(self._registry, name, self._folder.adapter, base, self._source)

    def _make_merged(self, name: str) -> ModelRecord:
        """Make a model of its own of what the engine cannot apply to the base."""
        if not self._job.recipe.use_lora:
            with _whole(self._folder.whole) as place:
                save_whole(self._prepared.model, self._base.hugging_face, place)
        self._publishing()
        return self._registry.pull(
            self._source,
            free_name(self._registry, name),
            precision=self._job.recipe.export_precision,
            progress=self._tell_conversion,
        )

    def _tell_conversion(self, progress: PullProgress) -> None:
        self._stage(progress.message or progress.stage)

    def _publishing(self) -> None:
        self._stage("publishing")
        self._faults.reach("publishing")

    def _stage(self, stage: str) -> None:
        self._store.progress(self._job.id, stage=stage)

    # What was trained

    def _save_adapter(self) -> None:
        """Take PEFT's own files out of the checkpoint."""
        with _whole(self._folder.adapter) as place:
            for name in _ADAPTER_FILES:
                shutil.copyfile(self._checkpoint / name, place / name)

    # Whether it is what will be served

    def _check(self) -> None:
        """Compare it with what the engine makes of it, and keep what was found."""
        served = self._checkpoint / SERVED_ADAPTER
        parity = check_parity(
            self._base.openvino,
            served,
            self._prompts(),
            trained=self._score,
            untrained=self._score_base,
            log_path=self._folder.path / "parity.log",
        )
        self._store.progress(self._job.id, parity=parity.to_dict())
        require_parity(parity)

    def _prompts(self) -> list[list[int]]:
        """Give what comes before the first answer of held-out examples, or of learned ones."""
        data = self._prepared.data
        chosen = (data.held_out or data.learned)[:_COMPARED_PROMPTS]
        return [_prompt(data.examples[index]) for index in chosen]

    @torch.no_grad()
    def _score(self, prompt: list[int], answer: list[int]) -> tuple[list[int], list[float]]:
        """Tell what the trained model chooses at each token of `answer`, and how likely that is."""
        model = self._prepared.model
        model.eval()
        ids = torch.tensor([prompt + answer], device=model.device)
        kept = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1, device=model.device)
        with self._prepared.compute.autocast():
            logits = model(input_ids=ids, logits_to_keep=kept, use_cache=False).logits[0]
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        of_answer = logprobs.gather(1, ids[0, len(prompt) :, None])[:, 0]
        return logprobs.argmax(dim=-1).tolist(), of_answer.tolist()

    def _score_base(self, prompt: list[int], answer: list[int]) -> tuple[list[int], list[float]]:
        with self._prepared.model.disable_adapter():
            return self._score(prompt, answer)


def _prompt(tokens: Tokens) -> list[int]:
    """Give what comes before what is learned; of a plain text, which is all learned, the half."""
    first = int(tokens.learned.argmax())
    if first <= 1:
        first = max(len(tokens.ids) // 2, 1)
    ids: list[int] = tokens.ids[:first].tolist()
    return ids[-_PROMPT_TOKENS:]


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Fill a folder that is there once all of it is."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(part)
