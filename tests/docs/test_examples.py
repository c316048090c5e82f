"""The examples of the API page do what they say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from serving import Server

_PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
# What follows removes models, or never ends.
_EXAMPLES = _PAGE.partition("## Bring a model here")[0]
_PYTHON = re.findall(r"```python\n(.*?)```", _EXAMPLES, re.DOTALL)
_CURL = [
    shlex.split(command.replace("\\\n", " "))
    for block in re.findall(r"```\n(curl .*?)```", _EXAMPLES, re.DOTALL)
    for command in re.split(r"\n(?=curl )", block)
]


@pytest.mark.slow
def test_python(
    bare_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    names: dict[str, Any] = {}
    for code in _PYTHON:
        exec(code.replace("http://localhost:8000", bare_server.url), names)  # noqa: S102
    assert "name='Ada' age=36" in capsys.readouterr().out
    assert len(names["vectors"]) == 2


@pytest.mark.slow
def test_curl(bare_server: Server) -> None:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("no curl on PATH")
    assert len(_CURL) > 8
    for command in _CURL:
        options = [part.replace("BASE", bare_server.url) for part in command[1:]]
        subprocess.run(
            [program, "--fail-with-body", "--silent", "--show-error", "--noproxy", "*", *options],
            check=True,
            timeout=120,
        )
