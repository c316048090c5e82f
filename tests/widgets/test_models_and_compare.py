"""``npu.Models`` and ``npu.Compare`` in JupyterLab, with real models."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from serving import EMBEDDER, LLM
from widgets.conftest import Notebook

pytestmark = pytest.mark.slow

_VERDICT = re.compile("Agreed|Different")


def test_models_are_loaded_pinned_and_unloaded(notebook: Notebook) -> None:
    models = notebook.run("npu.Models()").locator(".npu-models")
    row = models.get_by_role("row").filter(has_text=EMBEDDER).first
    row.get_by_role("button", name=f"Load {EMBEDDER}").click()
    expect(row.locator(".npu-state")).to_have_text("loaded")
    row.get_by_role("button", name="Keep loaded").click()
    expect(row.get_by_role("button", name="Keep loaded")).to_have_attribute("aria-pressed", "true")
    with notebook.server.http() as http:
        (loaded,) = [
            model
            for model in http.get("/v1/models/status").json()["models"]
            if model["name"] == EMBEDDER
        ]
    assert loaded["pinned"] is True
    row.get_by_role("button", name=f"Unload {EMBEDDER}").click()
    expect(row.get_by_role("button", name=f"Load {EMBEDDER}")).to_be_enabled()
    expect(row.locator(".npu-state")).to_have_text("registered")


def test_a_source_is_named_and_refused_in_words(notebook: Notebook) -> None:
    models = notebook.run("npu.Models()").locator(".npu-models")
    source = models.get_by_label("Source")
    add = models.get_by_role("button", name="Add", exact=True)
    expect(add).to_be_disabled()
    source.fill("hf:org/name")
    expect(models.locator(".npu-kind")).to_have_text("Hugging Face")
    source.fill("/etc/models")
    add.click()
    expect(models.get_by_role("alert")).to_contain_text("'/etc/models' is not below a folder")


def test_a_filter_and_a_sorted_column(notebook: Notebook) -> None:
    models = notebook.run("npu.Models()").locator(".npu-models")
    names = models.locator("tbody th")
    expect(names).to_have_text([EMBEDDER, LLM])
    models.get_by_role("button", name="Model").click()
    expect(names).to_have_text([LLM, EMBEDDER])
    expect(models.get_by_role("columnheader", name="Model")).to_have_attribute(
        "aria-sort", "descending"
    )
    models.get_by_label("Filter by name or state").fill("minilm")
    expect(names).to_have_text([EMBEDDER])


def test_two_answers_side_by_side_and_a_vote(notebook: Notebook) -> None:
    code = f"""
compare = npu.Compare({LLM!r}, {LLM!r}, prompts=["Name a colour."], max_tokens=12)
compare"""
    widget = notebook.run(code).locator(".npu-compare")
    widget.get_by_role("button", name="Run 1 prompt").click()
    # Requests that run in one step may differ in near ties, though the model is the same.
    expect(widget.locator(".npu-pair-head .npu-badge")).to_contain_text(_VERDICT)
    field = widget.get_by_label("Ask both models")
    field.fill("Name an animal.")
    notebook.run("compare.system = 'Speak of whales.'")
    field.press("Enter")
    expect(widget.locator(".npu-pair")).to_have_count(2)
    second = widget.locator(".npu-pair").nth(1)
    expect(second.get_by_role("radiogroup")).to_be_visible()
    second.get_by_label("Right", exact=True).check(force=True)
    rows = notebook.value("json.loads(compare.results.to_json(orient='records'))")
    assert [row["prompt"] for row in rows] == ["Name a colour.", "Name an animal."]
    assert [row["vote"] for row in rows] == [None, "right"]
    assert rows[0]["left"]
    assert rows[0]["right"]
    assert (rows[0]["shared_words"] == 1) == (rows[0]["left"] == rows[0]["right"])
