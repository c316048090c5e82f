"""How far a load is, told from how long it took the last time."""

from __future__ import annotations

from pathlib import Path

from npu_jupyter.engine.loading import LoadInProgress, Stage
from npu_jupyter.registry.records import ModelFormat, ModelRecord, ModelType

RECORD = ModelRecord(1, "m", ModelType.LLM, ModelFormat.GGUF, Path("m.gguf"), "m.gguf", 0, 1)


def test_a_first_load_promises_nothing() -> None:
    load = LoadInProgress(RECORD, lambda _: None)
    load.enter(Stage.COMPILE)
    progress = load.progress()
    assert (progress.stage, progress.percent, progress.eta_s) == ("compile", None, None)


def test_a_later_load_tells_percent_and_seconds_left() -> None:
    load = LoadInProgress(RECORD, lambda _: None)
    load.expected_s = {"find": 0.0, "read": 1_000.0, "compile": 3_000.0, "warm_up": 0.0}
    load.enter(Stage.READ)
    load.enter(Stage.COMPILE)
    progress = load.progress()
    assert progress.percent is not None
    assert progress.eta_s is not None
    assert 25 <= progress.percent < 26
    assert 2_900 < progress.eta_s <= 3_000


def test_a_stage_that_takes_longer_than_before_does_not_go_past_its_end() -> None:
    load = LoadInProgress(RECORD, lambda _: None)
    load.expected_s = {"find": 1e-9, "read": 1e-9}
    load.enter(Stage.WARM_UP)
    progress = load.progress()
    assert progress.percent == 99
    assert progress.eta_s == 0


def test_each_stage_is_told_once_and_timed() -> None:
    told = []
    load = LoadInProgress(RECORD, lambda load: told.append(load.stage))
    for stage in (Stage.READ, Stage.COMPILE, Stage.WARM_UP):
        load.enter(stage)
    load.finish()
    assert told == ["read", "compile", "warm_up"]
    assert list(load.stage_s) == ["find", "read", "compile", "warm_up"]
    assert all(seconds >= 0 for seconds in load.stage_s.values())
