"""The child that merges an adapter for an export: ``npu_jupyter.registry.sources.job`` runs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from npu_jupyter.registry.child import Parent
from npu_jupyter.registry.disk import disk_errors_told


def merge_request(parent: Parent) -> dict[str, Any]:
    """Merge what the request names into a new folder."""
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    parent.report("merge", message="loading torch and peft")
    from npu_jupyter.finetune.trainer.merging import merge, save_whole

    base, adapter, out = (Path(parent.request[key]) for key in ("base", "adapter", "out"))
    with disk_errors_told(out.parent, "Merging the adapter"):
        out.mkdir()
        parent.report("merge", message="adding the adapter to its base")
        save_whole(merge(base, adapter), base, out)
    return {}


def main() -> None:
    """Answer one request."""
    Parent().answer(merge_request)


if __name__ == "__main__":
    main()
