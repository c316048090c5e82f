"""The cache on disk: private, bounded, shared, and never in the way."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest

from npu_jupyter.client.rows.cache import Cache, cache_path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A place where nothing is yet."""
    return tmp_path / "new" / "answers.sqlite3"


def test_what_was_put_is_there_for_the_next(path: Path) -> None:
    keys = [b"%d" % number for number in range(1200)]
    with closing(Cache(path)) as cache:
        cache.put({key: b"value of " + key for key in keys})
        assert cache.fault is None
    with closing(Cache(path)) as cache, closing(Cache(path)) as another:
        another.put({b"0": b"changed"})
        known = cache.get([*keys, b"unknown"])
    assert len(known) == 1200
    assert (known[b"0"], known[b"1199"]) == (b"changed", b"value of 1199")


@pytest.mark.skipif(sys.platform == "win32", reason="files are private to a profile there")
def test_only_its_owner_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(Cache(path)) as cache:
            cache.put({b"key": b"value"})
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_damaged_file_is_begun_anew(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all, and long enough to be looked at" * 100)
    with closing(Cache(path)) as cache:
        cache.put({b"key": b"value"})
        assert cache.get([b"key"]) == {b"key": b"value"}


def test_where_nothing_can_be_written_it_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with closing(Cache(tmp_path / "file" / "answers.sqlite3")) as cache:
        cache.put({b"key": b"value"})
        assert cache.get([b"key"]) == {b"key": b"value"}
        assert cache.fault is not None
        assert "file" in cache.fault


def test_too_much_is_cut_to_the_newer_half(path: Path) -> None:
    with closing(Cache(path, max_bytes=100_000)) as cache:
        for number in range(200):
            cache.put({b"%03d" % number: bytes(1000)})
    assert path.stat().st_size < 150_000
    with closing(Cache(path)) as cache:
        assert not cache.get([b"000"])
        assert cache.get([b"199"])


def test_the_variable_says_where_it_lies(tmp_path: Path) -> None:
    assert cache_path() == tmp_path / "cache" / "answers.sqlite3"
