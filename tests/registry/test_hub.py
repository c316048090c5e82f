"""The Hugging Face hub: choice of files, resumed downloads, and what a user is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.hub_server import COMMIT, Hub, HubServer

from npu_jupyter.registry.store import Registry

_PULL = "from npu_jupyter.cli.pull import PullApp; PullApp.launch_instance()"
_BIG = 20_000_000


@pytest.fixture
def hub() -> Iterator[Hub]:
    with HubServer() as hub:
        yield hub


def _start(hub: Hub, data_dir: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    # The endpoint is read when the hub's client is imported, so each pull is a process.
    home = str(data_dir / "hf-home")
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": home, **more}
    environment.pop("HF_TOKEN", None) if "HF_TOKEN" not in more else None
    return subprocess.Popen(
        [sys.executable, "-c", _PULL, *arguments, f"--data-dir={data_dir}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _pull(hub: Hub, data_dir: Path, *arguments: str, **more: str) -> tuple[int, str]:
    process = _start(hub, data_dir, *arguments, **more)
    _, errors = process.communicate()
    assert "Traceback" not in errors
    return process.returncode, errors


def test_an_openvino_repository_comes_as_it_is_over_a_line_that_breaks(
    hub: Hub, embedder_ir: Path, tmp_path: Path
) -> None:
    hub.repositories["acme/Embed-Small"] = embedder_ir
    hub.cut_after = 10_000_000
    code, errors = _pull(hub, tmp_path, "hf:acme/Embed-Small@main", HF_TOKEN="hf_secret")
    assert code == 0, errors
    record = Registry(data_dir=str(tmp_path)).get("embed-small")
    assert record.source == "hf:acme/Embed-Small@main"
    assert record.context_length == 256
    # The weights came in pieces, each from where the one before broke off.
    pieces = [served for served in hub.served if served.path == "openvino_model.bin"]
    size = (embedder_ir / "openvino_model.bin").stat().st_size
    assert len(pieces) > 2
    assert [piece.start for piece in pieces[1:]] == sorted(piece.start for piece in pieces[1:])
    assert all(piece.start > 0 for piece in pieces[1:])
    assert sum(piece.sent for piece in pieces) <= 1.1 * size
    assert {served.token for served in hub.served} == {"Bearer hf_secret"}
    assert "hf_secret" not in errors
    # The registry has its own files now.
    assert not [*(tmp_path / "downloads").rglob("*.bin")]

    hub.served.clear()
    code, errors = _pull(hub, tmp_path, "hf:acme/Embed-Small@main")
    assert code == 0
    assert "is there already" in errors
    assert hub.served == []


def test_a_download_killed_half_way_goes_on_in_the_next_pull(hub: Hub, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    # No model, but the download is over before anyone looks inside.
    (repository / "x.gguf").write_bytes(os.urandom(_BIG))
    hub.repositories["acme/x"] = repository
    hub.seconds_a_chunk = 0.02
    data_dir = tmp_path / "data"
    process = _start(hub, data_dir, "hf:acme/x")
    deadline = time.monotonic() + 60
    while not (hub.served and hub.served[0].sent > _BIG / 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert Registry(data_dir=str(data_dir)).models() == []
    assert [*(data_dir / "incoming").iterdir()] == []

    hub.seconds_a_chunk = 0.0
    code, errors = _pull(hub, data_dir, "hf:acme/x")
    assert code == 1
    assert "no GGUF file: it begins with" in errors
    assert hub.served[1].start > _BIG / 4
    assert hub.served[1].start + hub.served[1].sent == _BIG


def test_a_file_that_comes_wrong_is_refused(hub: Hub, gguf: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "x.gguf").write_bytes(b"GGUF" + os.urandom(100_000))
    hub.repositories["acme/x"] = repository
    hub.claimed_sizes["x.gguf"] = 90_000
    code, errors = _pull(hub, tmp_path / "data", "hf:acme/x")
    assert code == 1
    assert "x.gguf came damaged" in errors


def test_room_is_asked_for_before_the_first_byte(hub: Hub, gguf: Path, tmp_path: Path) -> None:
    hub.repositories["acme/huge"] = gguf.parent
    hub.claimed_sizes[gguf.name] = 10**16
    code, errors = _pull(hub, tmp_path, "hf:acme/huge")
    assert code == 1
    match = re.search(r"needs 10000000\.00 GB and only (\d+\.\d\d) GB are free", errors)
    assert match, errors
    assert float(match[1]) > 0
    assert hub.served == []


def test_a_repository_of_several_files_is_told_to_choose(hub: Hub, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "sub").mkdir(parents=True)
    for name in ("a-Q4_0.gguf", "sub/a-Q8_0.gguf"):
        (repository / name).write_bytes(b"GGUF")
    hub.repositories["acme/many"] = repository
    code, errors = _pull(hub, tmp_path / "data", "hf:acme/many")
    assert code == 1
    assert "hf:acme/many/a-Q4_0.gguf (0.00 GB)" in errors
    assert "hf:acme/many/sub/a-Q8_0.gguf" in errors
    code, errors = _pull(hub, tmp_path / "data", "hf:acme/many/b.gguf")
    assert "acme/many has no file b.gguf" in errors
    code, errors = _pull(hub, tmp_path / "data", "hf:acme/many/sub/a-Q8_0.gguf")
    assert "a-Q8_0.gguf is damaged or cut short at 4 bytes" in errors


def test_what_the_hub_refuses_is_told_in_words(hub: Hub, gguf: Path, tmp_path: Path) -> None:
    hub.repositories["acme/x"] = gguf.parent
    hub.gated.add("acme/x")
    for source, told in [
        ("hf:acme/none", "no repository acme/none, or it is private: then set HF_TOKEN"),
        ("hf:acme/x", "acme/x is gated. Accept its terms"),
        ("hf:acme/x@v9", "gated"),
    ]:
        code, errors = _pull(hub, tmp_path, source)
        assert (code, told in errors) == (1, True), errors
    hub.gated.clear()
    assert "no revision 'v9'" in _pull(hub, tmp_path, "hf:acme/x@v9")[1]
    hub.url = "http://127.0.0.1:9"
    code, errors = _pull(hub, tmp_path, "hf:acme/x")
    assert (code, "set HF_ENDPOINT to a mirror" in errors) == (1, True), errors
    assert COMMIT not in errors
