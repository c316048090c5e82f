"""The wheel alone, on a machine without Node, is all that a user needs."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel_names(distributions: dict[str, Path]) -> list[str]:
    with zipfile.ZipFile(distributions[".whl"]) as wheel:
        return wheel.namelist()


def _run(python: Path, environment: dict[str, str], *arguments: str) -> str:
    """Run Python in the new environment; return what it printed, to either stream."""
    done = subprocess.run(
        [python, *arguments],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        cwd=python.parent,
    )
    return done.stdout


def test_wheel_holds_panel_config_and_licence(wheel_names: list[str]) -> None:
    def holds(ending: str) -> bool:
        return any(name.endswith(ending) for name in wheel_names)

    panel = "data/share/jupyter/labextensions/npu-jupyter"
    assert holds(f"{panel}/package.json")
    assert holds(f"{panel}/install.json")
    assert any(f"{panel}/static/remoteEntry." in name for name in wheel_names)
    assert holds("data/etc/jupyter/jupyter_server_config.d/npu_jupyter.json")
    assert holds("dist-info/licenses/LICENSE")
    assert "npu_jupyter/py.typed" in wheel_names


def test_wheel_holds_the_migrations(wheel_names: list[str]) -> None:
    assert any(name.startswith("npu_jupyter/registry/migrations/versions/") for name in wheel_names)


def test_wheel_holds_nothing_else(wheel_names: list[str]) -> None:
    package, metadata, data = "npu_jupyter/", ".dist-info/", ".data/data/"
    strangers = [
        name
        for name in wheel_names
        if not (name.startswith(package) or metadata in name or data in name)
    ]
    assert strangers == []
    assert [name for name in wheel_names if "test" in name or "node_modules" in name] == []


def test_sdist_holds_the_built_panel(distributions: dict[str, Path]) -> None:
    with tarfile.open(distributions[".gz"]) as sdist:
        names = sdist.getnames()
    assert any(name.endswith("npu_jupyter/labextension/package.json") for name in names)
    assert not any(
        "node_modules" in name or "/.cache/" in name or "/.yarn/" in name for name in names
    )


def test_what_it_needs_is_what_it_says(installed: Path, without_node: dict[str, str]) -> None:
    done = subprocess.run(
        [installed, "-m", "pip", "check"],
        env=without_node,
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("npu-jupyter")] == []


def test_server_extension_is_ok(installed: Path, without_node: dict[str, str]) -> None:
    listed = _run(installed, without_node, "-m", "jupyter_server", "extension", "list")
    lines = [line for line in listed.splitlines() if "npu_jupyter" in line]
    assert any("enabled" in line for line in lines), listed
    assert any("OK" in line for line in lines), listed


def test_labextension_is_ok(installed: Path, without_node: dict[str, str]) -> None:
    listed = _run(installed, without_node, "-m", "jupyterlab.labextensions", "list")
    (line,) = [line for line in listed.splitlines() if "npu-jupyter" in line]
    assert "enabled" in line, listed
    assert "OK" in line, listed
