"""The commands, options, extras and targets that the pages name are there."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from traitlets.utils.importstring import import_item

from npu_jupyter.app import NpuApp

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
TEXT = "\n".join(page.read_text("utf-8") for page in PAGES)

_COMMAND = re.compile(
    r"\bjupyter npu(?: ([a-z]+))?((?: (?:--[\w.-]+(?:[ =][\w./:-]+)?|[\w./:~-]+))*)"
)
_ANY_COMMAND_S_OPTIONS = {"--help", "--help-all", "--show-config"}
_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_commands_and_options_exist() -> None:
    lost = []
    for command, arguments in _COMMAND.findall(TEXT):
        if command and command not in NpuApp.subcommands:
            lost.append(command)
            continue
        app = import_item(NpuApp.subcommands[command][0]) if command else NpuApp
        known = {f"--{name}" for name in (*app.aliases, *app.flags)} | _ANY_COMMAND_S_OPTIONS
        options = re.findall(r"--[\w.-]+", arguments)
        lost += [f"{command} {o}" for o in options if "." not in o and o not in known]
    assert not lost


def test_every_command_is_told_of() -> None:
    told = {command for command, _ in _COMMAND.findall(TEXT)}
    assert set(NpuApp.subcommands) <= told


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = re.findall(r"(?:npu-jupyter|\.)\[([a-z,]+)\]", TEXT)
    assert named
    assert {extra for names in named for extra in names.split(",")} <= set(
        project["optional-dependencies"]
    )


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", TEXT, re.MULTILINE))
    assert named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_python(page: Path) -> None:
    for code in _PYTHON.findall(page.read_text("utf-8")):
        ast.parse(code)
