"""Imports that are cut short: whatever ends one leaves nothing registered and nothing behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from fakes.hub_server import HubServer

from npu_jupyter.registry.incoming import PullCancelled
from npu_jupyter.registry.records import PullProgress
from npu_jupyter.registry.store import Registry

_PULL = "from npu_jupyter.cli.pull import PullApp; PullApp.launch_instance()"
_PATIENCE_S = 60


def _start(data_dir: Path, *arguments: str, code: str = _PULL) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments, f"--data-dir={data_dir}"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def _wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if text in line:
            return
    pytest.fail(f"{text!r} was never told: {told}")


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _remains(data_dir: Path) -> list[Path]:
    return [*data_dir.glob("incoming/*"), *data_dir.glob("models/*")]


def _kill(process: subprocess.Popen[str]) -> None:
    """End a pull without a word, and see that its child goes too."""
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.kill()
    process.wait()
    _wait(lambda: not any(member.is_running() for member in family))


@pytest.mark.parametrize("stage", ["check: files", "check: tokenizer agrees"])
def test_a_pull_that_is_killed_while_it_checks(gguf: Path, tmp_path: Path, stage: str) -> None:
    process = _start(tmp_path, str(gguf))
    _wait_for_line(process, stage)
    _kill(process)
    assert _remains(tmp_path)
    assert Registry(data_dir=str(tmp_path)).models() == []
    assert _remains(tmp_path) == []


@pytest.mark.slow
def test_a_conversion_that_is_killed(embedder_original: Path, tmp_path: Path) -> None:
    process = _start(tmp_path, str(embedder_original))
    _wait_for_line(process, "convert: exporting to OpenVINO")
    _kill(process)
    assert _remains(tmp_path)
    assert Registry(data_dir=str(tmp_path)).models() == []
    assert _remains(tmp_path) == []


_DIE_AFTER_THE_MOVE = """
import os, signal, sys
from npu_jupyter.registry.store import Registry

class Dying(Registry):
    def _move(self, *arguments):
        super()._move(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

Dying(data_dir=sys.argv[2].removeprefix("--data-dir=")).pull(sys.argv[1])
"""


def test_a_process_that_dies_between_the_move_and_the_commit(
    embedder_ir: Path, tmp_path: Path
) -> None:
    process = _start(tmp_path, str(embedder_ir), code=_DIE_AFTER_THE_MOVE)
    process.communicate()
    assert process.returncode != 0
    assert len([*tmp_path.glob("models/*")]) == 1
    registry = Registry(data_dir=str(tmp_path))
    assert registry.models() == []
    assert _remains(tmp_path) == []
    # And its id and its name are free for the next.
    assert registry.pull(str(embedder_ir)).path.is_dir()


def test_a_living_import_is_not_swept(embedder_ir: Path, tmp_path: Path) -> None:
    process = _start(tmp_path, str(embedder_ir))
    _wait_for_line(process, "check: files")
    assert Registry(data_dir=str(tmp_path)).models() == []
    assert _remains(tmp_path)
    process.communicate()
    assert process.returncode == 0
    assert [r.id for r in Registry(data_dir=str(tmp_path)).models()] == [1]


def test_an_import_that_is_called_off(registry: Registry, gguf: Path) -> None:
    cancelled = threading.Event()
    others = psutil.Process().children()  # the servers of other tests
    children: list[psutil.Process] = []

    def call_off(progress: PullProgress) -> None:
        if progress.message == "tokenizer":
            children.extend(set(psutil.Process().children()).difference(others))
            cancelled.set()

    with pytest.raises(PullCancelled, match="Nothing was registered"):
        registry.pull(str(gguf), progress=call_off, cancelled=cancelled)
    assert children
    assert not any(child.is_running() for child in children)
    assert registry.models() == []
    assert _remains(Path(registry.data_dir)) == []


def test_two_processes_that_pull_the_same_at_once(embedder_ir: Path, tmp_path: Path) -> None:
    pulls = [_start(tmp_path, str(embedder_ir)) for _ in range(2)]
    told = [pull.communicate()[1] for pull in pulls]
    assert [pull.returncode for pull in pulls] == [0, 0], told
    assert len(Registry(data_dir=str(tmp_path)).models()) == 1
    assert sum("is there already" in text for text in told) == 1
    assert sum("first answer" in text for text in told) == 1


_PULL_WITHOUT_ROOM = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file sizes are limited by POSIX calls")
def test_a_disk_that_fills_up_on_the_way(
    embedder_ir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer() as hub:
        hub.repositories["acme/embed"] = embedder_ir
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        pull = _start(tmp_path, "hf:acme/embed", code=_PULL_WITHOUT_ROOM + _PULL)
        _, errors = pull.communicate()
    assert pull.returncode == 1
    assert "filled the disk" in errors
    assert "Free some space" in errors
    assert "Traceback" not in errors
    assert Registry(data_dir=str(tmp_path)).models() == []
    assert _remains(tmp_path) == []
