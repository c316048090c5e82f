"""Which file a caller means, and that he learns nothing of those he may not read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from npu_jupyter.errors import InvalidRequest, NotFound, NpuError, PermissionDenied, RequestTooLarge
from npu_jupyter.finetune.datasets.locate import locate

GIB = 2**30


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a folder that callers may read, beside a file that they may not."""
    (tmp_path / "secret.jsonl").write_text("{}", "utf-8")
    root = tmp_path / "open"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "rows.jsonl").write_text("{}", "utf-8")
    return root


def test_a_path_is_absolute_or_relative_to_a_root(root: Path, tmp_path: Path) -> None:
    file = root / "deep" / "rows.jsonl"
    assert locate("deep/rows.jsonl", [tmp_path / "none", root]) == file
    assert locate("deep/../deep/rows.jsonl", [root]) == file
    assert locate(str(file), [root]) == file


def _refusal(dataset: str, roots: list[Path]) -> str:
    with pytest.raises(PermissionDenied) as raised:
        locate(dataset, roots)
    return raised.value.message.replace(repr(dataset), "…")


def test_what_lies_outside_is_refused_in_the_same_words_whether_it_is_there(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "secret.jsonl")
    (root / "dangling").symlink_to(root.parent / "nothing.jsonl")
    (root / "loop").symlink_to(root / "loop2")
    (root / "loop2").symlink_to(root / "loop")
    (root / "folder").symlink_to(root.parent)
    outside = str(root.parent)
    refusals = {
        _refusal(dataset, [root])
        for dataset in (
            "../secret.jsonl",
            "../nothing.jsonl",
            f"{outside}/secret.jsonl",
            f"{outside}/nothing.jsonl",
            "link",
            "dangling",
            "folder/secret.jsonl",
            "folder/nothing.jsonl",
            "~nobody-of-that-name/x",
            "nul\0byte",
        )
    }
    assert len(refusals) == 1
    with pytest.raises(NpuError) as raised:
        locate("loop", [root])
    assert raised.value.status in {403, 404}


def test_without_a_root_no_path_is_open(root: Path) -> None:
    assert "none; set c.Datasets.roots" in _refusal(str(root / "deep" / "rows.jsonl"), [])


def test_what_is_not_there_is_told_within_the_roots(root: Path) -> None:
    with pytest.raises(NotFound, match=r"no file 'rows\.jsonl'"):
        locate("rows.jsonl", [root])


def test_a_name_of_the_hub_is_one_where_no_such_file_is(root: Path) -> None:
    assert locate("hf:org/name@main", [root]) == "hf:org/name@main"
    assert locate("org/name", [root]) == "hf:org/name"
    assert locate("org/name", []) == "hf:org/name"
    assert locate("deep/rows.jsonl", [root]) == root / "deep" / "rows.jsonl"
    with pytest.raises(InvalidRequest, match="of the form hf:org/name"):
        locate("hf:../name", [root])


def test_a_folder_must_be_one_of_the_datasets_library(root: Path) -> None:
    with pytest.raises(InvalidRequest, match="not one that datasets' save_to_disk wrote"):
        locate("deep", [root])
    (root / "deep" / "dataset_info.json").write_text("{}", "utf-8")
    assert locate("deep", [root]) == root / "deep"
    (root / "deep" / "more.arrow").symlink_to(root.parent / "secret.jsonl")
    with pytest.raises(PermissionDenied, match="links to what may not be read"):
        locate("deep", [root])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_file_is_refused_without_being_opened(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "fifo")  # opening it would wait for ever
    monkeypatch.chdir(root)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for name in ("fifo", "socket"):
            with pytest.raises(InvalidRequest, match="neither a file nor a folder"):
                locate(name, [root])
    with pytest.raises(InvalidRequest, match="neither a file nor a folder"):
        locate("/dev/zero", [Path("/dev")])


def test_a_file_is_too_large_by_its_size_alone(root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(10 * GIB)
    with pytest.raises(RequestTooLarge, match="10,240 MiB; datasets may have 4,096"):
        locate("sparse", [root])
    assert locate("sparse", [root], max_mib=0) == root / "sparse"
