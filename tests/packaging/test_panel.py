"""The panel of the installed wheel loads in JupyterLab, in a browser."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_START_S = 60


@pytest.fixture
def lab(installed: Path, without_node: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """Start JupyterLab from the wheel's environment; yield what it says of itself."""
    environment = without_node | {
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "NPU_JUPYTER_DATA": str(tmp_path / "models"),
    }
    options = ["--no-browser", "--port=0", f"--ServerApp.root_dir={tmp_path}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    with subprocess.Popen([installed, "-m", "jupyterlab", *options], env=environment) as server:
        try:
            yield _described(server, tmp_path / "runtime")
        finally:
            server.terminate()


def _described(server: subprocess.Popen[bytes], runtime: Path) -> dict[str, str]:
    """Wait for the file in which a Jupyter Server gives its address and token."""
    described = runtime / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if described.exists():
            return dict(json.loads(described.read_text(encoding="utf-8")))
        assert server.poll() is None, "JupyterLab ended instead of starting"
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start in {_START_S} s")


def test_palette_shows_the_address_for_openai_clients(
    lab: dict[str, str], browser_path: str
) -> None:
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start for root, and the page is ours.
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{lab['url']}lab?token={lab['token']}")
        page.wait_for_selector("#jp-main-dock-panel")
        page.keyboard.press("Control+Shift+C")
        page.fill(".lm-CommandPalette-input", "Address of the OpenAI API")
        page.click(".lm-CommandPalette-item[data-command='npu-jupyter:show-address']")
        shown = page.inner_text(".jp-Dialog-body")
        browser.close()
    assert shown == f"base_url: {lab['url']}v1"
