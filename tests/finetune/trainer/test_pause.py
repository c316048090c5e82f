"""Training waits while a server says that it is busy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from npu_jupyter.finetune.trainer.pause import Pause


def test_it_goes_on_when_the_time_is_over(tmp_path: Path) -> None:
    busy = tmp_path / "inference.busy"
    until = time.time() + 0.3
    busy.write_text(str(until), encoding="utf-8")
    Pause(busy, lambda: False).wait()
    assert time.time() >= until


def test_it_ends_when_the_job_is_stopped(tmp_path: Path) -> None:
    busy = tmp_path / "inference.busy"
    busy.write_text(str(time.time() + 3600), encoding="utf-8")
    asked = []
    Pause(busy, lambda: bool(asked.append(1)) or len(asked) == 2).wait()
    assert len(asked) == 2


@pytest.mark.parametrize("text", [None, "", "soon", "0"])
def test_nobody_is_busy(tmp_path: Path, text: str | None) -> None:
    busy = tmp_path / "inference.busy"
    if text is not None:
        busy.write_text(text, encoding="utf-8")
    Pause(busy, lambda: pytest.fail("there was nothing to wait for")).wait()
