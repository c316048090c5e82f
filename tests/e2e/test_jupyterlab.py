"""JupyterLab in a browser: a notebook's first cell says ``OpenAI()`` and gets its answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect
from serving import EMBEDDER, LLM, ROOT, Server

pytestmark = pytest.mark.slow

_NOTEBOOK = "01-quickstart.ipynb"
_SCREENSHOTS = Path(__file__).parent / "screenshots"
_KERNEL_IS_IDLE = """
() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'
"""


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the page's console says of errors, as they come."""
    said: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            said.append(f"{message.text} ({message.location.get('url')})")

    page.on("console", listen)
    page.on("pageerror", lambda error: said.append(error.message))
    return said


@pytest.fixture
def notebook(page: Page, complaints: list[str], lab: Server, lab_folder: Path) -> Page:
    """The first example, open in JupyterLab, with its kernel."""
    shutil.copy(ROOT / "notebooks" / _NOTEBOOK, lab_folder)
    page.goto(f"{lab.url}/lab/tree/{_NOTEBOOK}?reset&token={lab.token}")
    page.wait_for_function(_KERNEL_IS_IDLE)
    return page


def test_first_cells_get_their_answers(notebook: Page, complaints: list[str]) -> None:
    notebook.keyboard.press("Control+b")  # the side bar, away
    notebook.locator(".jp-Notebook .jp-MarkdownCell").first.click()
    for _ in range(4):
        notebook.keyboard.press("Shift+Enter")
    answer, models = (notebook.locator(".jp-CodeCell").nth(number) for number in (0, 1))
    expect(models.locator(".jp-InputPrompt")).to_have_text("[2]:")
    expect(answer.locator(".jp-OutputArea-output")).to_contain_text("Jupyter")
    for name in (LLM, EMBEDDER):
        expect(models.locator(".jp-OutputArea-output")).to_contain_text(name)
    _SCREENSHOTS.mkdir(exist_ok=True)
    notebook.mouse.wheel(0, -10_000)
    notebook.screenshot(path=_SCREENSHOTS / "quickstart.png")
    assert not [line for line in complaints if "npu" in line]


def test_our_plugin_is_active(notebook: Page) -> None:
    assert notebook.evaluate("jupyterapp.isPluginActivated('npu-jupyter:plugin')") is True
