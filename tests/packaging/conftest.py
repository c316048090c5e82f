"""A wheel built from the tracked files, and an environment that holds nothing of ours but it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def tracked_files() -> list[Path]:
    """List what git tracks and the working tree has, relative to the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True, encoding="utf-8"
    ).stdout
    names = [Path(name) for name in listed.split("\0") if name]
    return [name for name in names if (CHECKOUT / name).is_file()]


@pytest.fixture(scope="session")
def without_node(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Build an environment whose PATH is empty, and whose home has no Jupyter of its own."""
    folder = tmp_path_factory.mktemp("without_node")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    # CI makes the package manager refuse a lock file that does not match package.json.
    return kept | {
        "PATH": str(folder),
        "CI": "true",
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
    }


@pytest.fixture(scope="session")
def distributions(
    tmp_path_factory: pytest.TempPathFactory, without_node: dict[str, str]
) -> dict[str, Path]:
    """Build the sdist, and from it the wheel, on a machine without Node: suffix to path."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, source / name)
    # The packages downloaded by an earlier build serve this one.
    if (cache := CHECKOUT / ".cache" / "yarn").is_dir():
        shutil.copytree(cache, source / ".cache" / "yarn")
    built = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(built), str(source)],
        env=without_node,
        check=True,
    )
    return {path.suffix: path for path in built.iterdir()}


@pytest.fixture(scope="session")
def installed(
    tmp_path_factory: pytest.TempPathFactory,
    distributions: dict[str, Path],
    without_node: dict[str, str],
) -> Path:
    """Install the wheel alone into a new environment; return that environment's Python.

    What it depends on is lent by the environment of the tests: a line in a .pth file adds that
    folder behind the new one's, without the .pth files in it, so a checkout installed there in
    editable form is not seen.
    """
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    scheme = {"base": str(environment), "platbase": str(environment)}
    site = Path(sysconfig.get_path("purelib", vars=scheme))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    python = Path(sysconfig.get_path("scripts", vars=scheme)) / Path(sys.executable).name
    subprocess.run(
        [python, "-m", "pip", "install", "--no-deps", "--ignore-installed", distributions[".whl"]],
        env=without_node,
        check=True,
    )
    return python
