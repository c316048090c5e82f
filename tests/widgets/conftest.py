"""JupyterLab in a browser, with one notebook and one kernel for all tests of a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import browser
from playwright.sync_api import Browser, Locator, Page
from serving import ROOT, Server, serve

__all__ = ["browser"]

_KERNEL_IS_IDLE = """
() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'
"""
_ADD_CELL = """async code => {
  const notebook = jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = notebook.widgets.length - 1;
  await jupyterapp.commands.execute('notebook:insert-cell-below');
  notebook.activeCell.model.sharedModel.setSource(code);
  void jupyterapp.commands.execute('notebook:run-cell');
  return notebook.activeCellIndex;
}"""
_DONE = """at => {
  const cell = jupyterapp.shell.currentWidget.content.widgets[at].model;
  return cell.executionCount !== null && cell.executionState !== 'running';
}"""
_PAGE_TIMEOUT_MS = 60_000


@dataclass
class Notebook:
    """A notebook in JupyterLab."""

    page: Page
    server: Server
    path: Path

    def begin(self, code: str) -> Locator:
        """Run code in a new last cell; give the cell at once."""
        at = self.page.evaluate(_ADD_CELL, code)
        return self.page.locator(".jp-Notebook .jp-Cell").nth(at)

    def run(self, code: str) -> Locator:
        """Run code in a new last cell; give the cell when that is done."""
        at = self.page.evaluate(_ADD_CELL, code)
        self.page.wait_for_function(_DONE, arg=at)
        cell = self.page.locator(".jp-Notebook .jp-Cell").nth(at)
        cell.scroll_into_view_if_needed()
        return cell

    def value(self, code: str) -> Any:
        """Give what an expression is in the kernel, by way of JSON."""
        cell = self.run(f"import json; print(json.dumps({code}))")
        return json.loads(cell.locator(".jp-OutputArea-output").inner_text())

    def command(self, name: str) -> None:
        """Run a command of JupyterLab."""
        self.page.evaluate("name => jupyterapp.commands.execute(name)", name)

    def wait_for_kernel(self) -> None:
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_function(_KERNEL_IS_IDLE)

    def running(self) -> int:
        """Count the requests that run on the server."""
        with self.server.http() as http:
            models = http.get("/v1/models/status").json()["models"]
        return sum(model["requests_running"] for model in models)


@pytest.fixture(scope="session")
def lab(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab below a path and behind a token, whose fine-tuning jobs train nothing."""
    home = tmp_path_factory.mktemp("widgets")
    (home / "work").mkdir()
    settings = home / "config" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True)
    without_news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    settings.write_text(json.dumps(without_news), encoding="utf-8")
    command = [
        "-m",
        "jupyterlab",
        "--no-browser",
        "--expose-app-in-browser",
        "--ServerApp.base_url=/user/ann/",
        f"--ServerApp.root_dir={home / 'work'}",
        "--Supervisor.trainer_module=fake_trainer",
    ]
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "fakes")))}
    with serve(
        command, "/user/ann", "the-token-of-ann", data_dir, home, variables=paths
    ) as running:
        yield running


@pytest.fixture(scope="module")
def notebook(browser: Browser, lab: Server, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """A new notebook with its kernel; widgets are imported."""
    path = lab.log.parent / "work" / f"{Path(request.path).stem}.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    empty = {"cells": [], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(empty), encoding="utf-8")
    with browser.new_context(viewport={"width": 1280, "height": 1400}) as context:
        context.set_default_timeout(_PAGE_TIMEOUT_MS)
        page = context.new_page()
        page.goto(f"{lab.url}/lab/tree/{path.name}?reset&token={lab.token}")
        opened = Notebook(page, lab, path)
        opened.wait_for_kernel()
        page.keyboard.press("Control+b")  # the side bar, away
        opened.run("import npu_jupyter as npu")
        yield opened
