"""The demo, as ``make demo`` runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from serving import EMBEDDER, LLM, ROOT

_ADDRESS = re.compile(r"http://\S+/lab/tree/notebooks/01-quickstart\.ipynb\?token=(\w+)")


@pytest.fixture
def demo(data_dir: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the demo without a browser until the test is done."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "jupyter", "npu", "demo", "--no-browser"],
        cwd=ROOT,
        env={
            **os.environ,
            "NPU_JUPYTER_DATA": str(data_dir),
            "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
            "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    yield process
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.communicate(timeout=60)
    _, left = psutil.wait_procs(children, timeout=60)
    assert left == []


@pytest.mark.slow
def test_an_answer_is_printed_and_the_notebook_is_at_the_address(
    demo: subprocess.Popen[str],
) -> None:
    assert demo.stdout is not None
    before_jupyterlab = []
    for line in demo.stdout:
        if found := _ADDRESS.search(line):
            break
        before_jupyterlab.append(line)
    else:
        pytest.fail("".join(before_jupyterlab))
    printed = "".join(before_jupyterlab)
    assert f"{LLM}\n" in printed
    assert f"{EMBEDDER}\n" in printed
    answer = printed.partition("what is a Jupyter notebook?\n")[2]
    assert "notebook" in answer.partition("\n")[0].lower()
    reply = httpx.get(found[0], follow_redirects=True)
    assert reply.status_code == 200
    address = found[0].partition("/lab/")[0]
    content = httpx.get(
        f"{address}/api/contents/notebooks/01-quickstart.ipynb",
        headers={"Authorization": f"token {found[1]}"},
    )
    assert content.json()["type"] == "notebook"
