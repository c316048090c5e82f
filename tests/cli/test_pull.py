"""``jupyter npu pull``, ``models`` and ``remove`` as a user types them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from npu_jupyter.registry.store import Registry

_COMMAND = [sys.executable, "-c", "from npu_jupyter.app import main; main()"]


@pytest.fixture(scope="module")
def embedder(demo_data_dir: Path) -> Path:
    return Registry(data_dir=str(demo_data_dir)).get("all-minilm-l6-v2").path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    # A home of its own: what this machine's user configured must not matter.
    return {**os.environ, "HOME": str(tmp_path), "NPU_JUPYTER_DATA": str(tmp_path / "data")}


def _jupyter_npu(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*_COMMAND, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def test_a_model_is_pulled_listed_and_removed(
    environment: dict[str, str], embedder: Path, tmp_path: Path
) -> None:
    empty = _jupyter_npu(environment, "models")
    assert empty.stdout.startswith("No model is registered yet. Add one with: jupyter npu pull")

    pulled = _jupyter_npu(environment, "pull", str(embedder), "--name", "team/embed:1")
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.startswith("team/embed:1 is ready: embedding, int8, ")
    told = pulled.stderr.splitlines()
    assert any(line.endswith("check: files") for line in told)
    assert any("tokenizer agrees on" in line for line in told)

    table = _jupyter_npu(environment, "models").stdout.splitlines()
    assert table[0].split() == [
        "ID", "NAME", "TYPE", "FORMAT", "PRECISION", "SIZE", "CONTEXT", "SOURCE",
    ]  # fmt: skip
    assert table[1].split()[:5] == ["1", "team/embed:1", "embedding", "openvino", "int8"]
    assert table[1].endswith(str(embedder))

    assert (
        _jupyter_npu(environment, "remove", "team/embed:1").stdout == "team/embed:1 is removed.\n"
    )
    assert not [*(tmp_path / "data" / "models").iterdir()]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pull"], "name one source"),
        (["pull", "a", "b"], "name one source"),
        (["pull", "nowhere"], "'nowhere' is no source"),
        (["pull", "x", "--precision=int3"], "int3"),
        (["pull", ".", "--name=../x"], "cannot be a model's name"),
        (["remove"], "name a model"),
        (["remove", "nothing"], "There is no model 'nothing'"),
    ],
)
def test_a_mistake_is_one_plain_line(
    environment: dict[str, str], words: list[str], told: str
) -> None:
    done = _jupyter_npu(environment, *words)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stdout == ""


def test_a_configuration_file_names_the_data_directory(
    environment: dict[str, str], demo_data_dir: Path, tmp_path: Path
) -> None:
    config = tmp_path / ".jupyter"
    config.mkdir()
    text = f"c.Registry.data_dir = {str(demo_data_dir)!r}\n"
    for name in ("jupyter_config.py", "jupyter_npu_config.py"):
        (config / name).write_text(text, encoding="utf-8")
    assert "smollm2-135m-instruct" in _jupyter_npu(environment, "models").stdout
    other = _jupyter_npu(environment, "models", f"--Registry.data_dir={tmp_path / 'other'}")
    assert other.stdout.startswith("No model")


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
def test_ctrl_c_leaves_nothing(environment: dict[str, str], embedder: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*_COMMAND, "pull", str(embedder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    told = ""
    while "check: tokenizer" not in told:
        told += process.stderr.readline()
    # As a terminal does it: to the pull and to its child alike.
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate()[1]
    assert process.returncode == 130
    assert "stopped. Nothing of" in rest
    assert "Traceback" not in rest
    data = tmp_path / "data"
    assert not [*data.glob("incoming/*"), *data.glob("models/*")]
    assert Registry(data_dir=str(data)).models() == []


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is POSIX")
def test_on_a_terminal_one_line_moves(environment: dict[str, str], embedder: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    process = subprocess.Popen(
        [*_COMMAND, "pull", str(embedder)],
        env=environment,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other side is gone
            break
        if not piece:
            break
        screen += piece
    os.close(ours)
    assert process.wait() == 0
    assert b"check: files" in screen
    # Carriage returns, not a line for each step.
    assert screen.count(b"\n") <= 2
    assert b"all-minilm-l6-v2 is ready" in screen.splitlines()[-1]
