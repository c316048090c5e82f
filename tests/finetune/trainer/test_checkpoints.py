"""A checkpoint is whole or is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from npu_jupyter.finetune.trainer.checkpoints import MANIFEST, Checkpoints, Manifest


def write(checkpoints: Checkpoints, step: int, best: int | None = None) -> Path:
    aside = checkpoints.aside() / "checkpoint"
    (aside / "deep").mkdir(parents=True)
    (aside / "weights").write_text(f"weights of {step}", encoding="utf-8")
    (aside / "deep" / "state").write_text("state", encoding="utf-8")
    manifest = Manifest(step=step, recipe={"seed": 1}, dataset_sha256="0")
    path = checkpoints.seal(aside, manifest)
    checkpoints.prune(best)
    return path


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def test_the_newest_two_and_the_best_are_kept(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest() is None
    for step in (2, 4, 6, 10):
        write(checkpoints, step, best=2)
    assert checkpoints.steps() == [2, 6, 10]
    newest = checkpoints.newest()
    assert newest is not None
    assert (newest.step, newest.recipe) == (10, {"seed": 1})
    assert set(newest.files) == {"weights", "deep/state"}


@pytest.mark.parametrize("damage", ["changed", "missing", "no manifest", "cut manifest"])
def test_one_that_is_damaged_does_not_count(checkpoints: Checkpoints, damage: str) -> None:
    write(checkpoints, 1)
    path = write(checkpoints, 2)
    match damage:
        case "changed":
            (path / "weights").write_text("weights of 3", encoding="utf-8")
        case "missing":
            (path / "deep" / "state").unlink()
        case "no manifest":
            (path / MANIFEST).unlink()
        case _:
            (path / MANIFEST).write_bytes((path / MANIFEST).read_bytes()[:40])
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 1


def test_one_that_was_half_written_is_no_checkpoint(checkpoints: Checkpoints) -> None:
    write(checkpoints, 1)
    (checkpoints.aside() / "checkpoint-2").mkdir()
    assert checkpoints.steps() == [1]


def test_a_step_that_is_done_again_replaces_its_checkpoint(checkpoints: Checkpoints) -> None:
    first = write(checkpoints, 3)
    (first / "weights").write_text("damaged", encoding="utf-8")
    write(checkpoints, 3)
    assert checkpoints.verified(3)
