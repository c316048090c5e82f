"""``npu.Chat`` in JupyterLab, with a real model."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fakes.waiting import wait_until
from playwright.sync_api import Locator, expect
from serving import LLM, Server
from widgets.conftest import Notebook

pytestmark = pytest.mark.slow

_LONG = "Write a long story about a dog and a cat."
_HOSTILE = """<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 1">

[a](javascript:window.hacked=1) [b](data:text/html,x) [c](  JAVASCRIPT:x) <b onclick="x">bold</b>

![remote](https://pictures.invalid/a.png) [good](https://example.org/)

```html
<script>window.hacked = 1</script>
```

| <i>a</i> | b |
|---|---|
| <svg onload="window.hacked=1"> | 2 |
"""


@pytest.fixture
def chat(notebook: Notebook) -> Iterator[Locator]:
    """A chat whose answers are long."""
    cell = notebook.run(f"chat = npu.Chat({LLM!r}, max_tokens=2000, temperature=0)\nchat")
    widget = cell.locator(".npu-chat")
    yield widget
    if widget.locator(".npu-live").is_visible():
        widget.get_by_role("button", name="Stop").click()
    notebook.command("notebook:delete-cell")


def ask(chat: Locator, text: str) -> None:
    field = chat.locator(".npu-composer textarea")
    field.fill(text)
    field.press("Enter")


def until_growing(chat: Locator) -> None:
    """Wait until an answer comes in, and see that it grows."""
    answer = chat.locator(".npu-turn-assistant .npu-text").last
    expect(answer).not_to_be_empty()
    begun = len(answer.inner_text())
    wait_until(lambda: len(answer.inner_text()) > begun)


def test_answer_arrives_and_stop_frees_the_model(notebook: Notebook, chat: Locator) -> None:
    ask(chat, _LONG)
    until_growing(chat)
    expect(chat.locator(".npu-live-words")).to_contain_text("tok/s")
    assert notebook.running() == 1
    expect(chat.get_by_role("log")).to_have_attribute("aria-busy", "true")
    chat.get_by_role("button", name="Stop").click()
    wait_until(lambda: notebook.running() == 0)
    expect(chat.locator(".npu-print").last).to_contain_text("stopped · ")
    text = chat.locator(".npu-turn-assistant .npu-text").inner_text()
    said = "[message['content'].split() for message in chat.messages]"
    wait_until(lambda: notebook.value(said) == [_LONG.split(), text.split()])
    turn = notebook.value("chat.turns[-1]")
    assert turn["completion_tokens"] > 1
    assert turn["tokens_per_second"] > 0


def test_chat_answers_and_stops_while_a_cell_blocks(notebook: Notebook, chat: Locator) -> None:
    blocked = notebook.begin("import time; time.sleep(600)")
    expect(blocked.locator(".jp-InputPrompt")).to_have_text("[*]:")
    ask(chat, _LONG)
    until_growing(chat)
    chat.locator(".npu-composer textarea").press("Escape")
    wait_until(lambda: notebook.running() == 0)
    expect(chat.locator(".npu-print").last).to_contain_text("stopped · ")
    expect(blocked.locator(".jp-InputPrompt")).to_have_text("[*]:")
    notebook.command("notebook:interrupt-kernel")
    notebook.wait_for_kernel()
    ends = "[turn.get('finish_reason') for turn in chat.turns]"
    wait_until(lambda: notebook.value(ends) == [None, "stopped"])
    assert notebook.value("chat.messages[0]") == {"role": "user", "content": _LONG}
    assert notebook.value("chat.messages[1]['content']")


def test_edits_and_other_answers_are_branches(notebook: Notebook, chat: Locator) -> None:
    notebook.run("chat.settings = {'max_tokens': 8, 'temperature': 0}")
    ask(chat, "Name a colour.")
    expect(chat.locator(".npu-print").last).to_contain_text("stopped at 8 tokens")
    first = chat.locator(".npu-turn-assistant .npu-text").inner_text()
    chat.get_by_role("button", name="Continue").click()
    expect(chat.locator(".npu-turn-assistant .npu-text")).not_to_have_text(first)
    expect(chat.get_by_role("button", name="Regenerate")).to_be_enabled()
    chat.get_by_role("button", name="Regenerate").click()
    expect(chat.get_by_role("group", name="Answers")).to_contain_text("2 of 2")
    expect(chat.get_by_role("button", name="Regenerate")).to_be_enabled()
    field = chat.locator(".npu-composer textarea")
    field.press("ArrowUp")
    chat.get_by_label("Edit the message").fill("Name an animal.")
    chat.get_by_label("Edit the message").press("Enter")
    versions = chat.get_by_role("group", name="Versions of the message")
    expect(versions).to_contain_text("2 of 2")
    expect(chat.get_by_role("button", name="Regenerate")).to_be_enabled()
    assert notebook.value("chat.messages[0]['content']") == "Name an animal."
    versions.get_by_role("button", name="Earlier").click()
    expect(chat.locator(".npu-turn-user .npu-text")).to_have_text("Name a colour.")
    expect(chat.get_by_role("group", name="Answers")).to_contain_text("2 of 2")
    wait_until(lambda: notebook.value("chat.messages[0]['content']") == "Name a colour.")
    assert len(notebook.value("chat.turns")) == 5


def test_shown_twice_it_stays_in_step(notebook: Notebook, chat: Locator) -> None:
    cell = notebook.run("chat")
    again = cell.locator(".npu-chat")
    ask(chat, _LONG)
    until_growing(again)
    again.get_by_role("button", name="Stop").click()
    expect(chat.locator(".npu-print").last).to_contain_text("stopped · ")
    texts = [one.locator(".npu-turn-assistant .npu-text") for one in (chat, again)]
    assert texts[0].inner_text() == texts[1].inner_text()
    notebook.run("chat.messages = [{'role': 'user', 'content': 'set from code'}]")
    for one in (chat, again):
        expect(one.locator(".npu-turn")).to_have_count(1)
        expect(one.locator(".npu-turn-user .npu-text")).to_have_text("set from code")


def test_hostile_markdown_is_inert(notebook: Notebook) -> None:
    asked: list[str] = []
    notebook.page.on("request", lambda request: asked.append(request.url))
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _HOSTILE}]
    cell = notebook.run(f"npu.Chat({LLM!r}, messages={said!r})")
    text = cell.locator(".npu-turn-assistant .npu-text")
    expect(text).to_contain_text("<script>window.hacked = 1</script>")
    expect(text.locator("table td").first).to_have_text('<svg onload="window.hacked=1">')
    expect(text.locator("script, img, svg:not(.npu-icon), iframe, b, i, [onclick]")).to_have_count(
        0
    )
    links = text.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert links == ["https://pictures.invalid/a.png", "https://example.org/"]
    assert notebook.page.evaluate("window.hacked") is None
    assert not [url for url in asked if "invalid" in url]
    notebook.command("notebook:delete-cell")


def test_everything_by_keyboard(notebook: Notebook, chat: Locator) -> None:
    cells = notebook.page.locator(".jp-Notebook .jp-Cell").count()
    keyboard = notebook.page.keyboard
    chat.get_by_label("Model").focus()
    for label in ("New chat", "Settings", "Edit the system prompt"):
        keyboard.press("Tab")
        expect(chat.get_by_role("button", name=label)).to_be_focused()
    keyboard.press("Enter")
    keyboard.type("You add cells above, below, dd.")  # letters that JupyterLab has commands for
    keyboard.press("Enter")
    expect(chat.locator(".npu-system-text")).to_have_text("You add cells above, below, dd.")
    chat.locator(".npu-composer textarea").focus()
    keyboard.type("A long story about bees")
    keyboard.press("Enter")
    until_growing(chat)
    keyboard.press("Escape")
    wait_until(lambda: notebook.running() == 0)
    expect(chat.get_by_role("button", name="Regenerate")).to_be_enabled()
    keyboard.press("Shift+Tab")
    expect(chat.get_by_role("button", name="Continue")).to_be_focused()
    assert notebook.page.locator(".jp-Notebook .jp-Cell").count() == cells
    assert notebook.value("chat.system") == "You add cells above, below, dd."


def test_a_server_that_was_away_is_asked_again(notebook: Notebook, chat: Locator) -> None:
    for path in ("**/v1/**", "**/health"):
        notebook.page.route(path, lambda route: route.abort())
    ask(chat, "Anybody there?")
    expect(chat.locator(".npu-away")).to_contain_text("Server away since")
    expect(chat.get_by_role("alert")).to_contain_text("does not respond")
    chat.locator(".npu-composer textarea").fill("a draft")
    for path in ("**/v1/**", "**/health"):
        notebook.page.unroute(path)
    chat.get_by_role("button", name="Try now").click()
    expect(chat.locator(".npu-away")).to_be_hidden()
    chat.get_by_role("button", name="Try again").click()
    until_growing(chat)
    expect(chat.locator(".npu-composer textarea")).to_have_value("a draft")


def test_an_answer_becomes_a_cell(notebook: Notebook) -> None:
    said = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "Run this:\n\n```python\n1 + 1\n```"},
    ]
    cell = notebook.run(f"npu.Chat({LLM!r}, messages={said!r})")
    cell.locator(".npu-code").get_by_role("button", name="Insert as cell").click()
    added = notebook.page.locator(".jp-Notebook .jp-CodeCell").last
    expect(added.locator(".cm-content")).to_have_text("1 + 1")
    expect(added.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[ \]:"))
    for _ in range(2):
        notebook.command("notebook:delete-cell")


def test_a_server_elsewhere_is_reached_through_the_kernel(
    notebook: Notebook, bare_server: Server
) -> None:
    sent: list[str] = []
    notebook.page.on("request", lambda request: sent.append(request.url))
    code = f"far = npu.Chat({LLM!r}, client=npu.Client({bare_server.url!r}), max_tokens=2000)\nfar"
    chat = notebook.run(code).locator(".npu-chat")
    ask(chat, _LONG)
    until_growing(chat)
    chat.get_by_role("button", name="Stop").click()
    expect(chat.locator(".npu-print").last).to_contain_text("stopped · ")
    with bare_server.http() as http:
        wait_until(
            lambda: http.get("/v1/models/status").json()["models"][0]["requests_running"] == 0
        )
    assert not [url for url in sent if "/v1/" in url]
    notebook.command("notebook:delete-cell")


def test_a_reloaded_page_has_it_all(notebook: Notebook) -> None:
    said = [{"role": "user", "content": "kept?"}, {"role": "assistant", "content": "**Kept.**"}]
    chat = notebook.run(f"kept = npu.Chat({LLM!r}, messages={said!r})\nkept").locator(".npu-chat")
    chat.locator(".npu-composer textarea").fill("a draft")
    wait_until(lambda: notebook.value("kept.draft") == "a draft")
    notebook.command("docmanager:save")
    notebook.page.reload()
    notebook.wait_for_kernel()
    again = notebook.page.locator(".npu-chat").last
    expect(again.locator(".npu-text strong")).to_have_text("Kept.")
    expect(again.locator(".npu-composer textarea")).to_have_value("a draft")
