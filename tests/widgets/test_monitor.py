"""``npu.Monitor`` in JupyterLab, on jobs whose trainer trains nothing."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from fakes.waiting import wait_until
from playwright.sync_api import expect
from serving import LLM
from widgets.conftest import Notebook

pytestmark = pytest.mark.slow


def start(notebook: Notebook, **behaviour: str) -> int:
    """Start a job that goes through its steps as told; give its number."""
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    lines = [json.dumps(row | {"id": number}) for number in range(3)]
    (notebook.path.parent / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    body = {"model_id": LLM, "dataset": "rows.jsonl", "suffix": f"job-{len(behaviour)}"}
    with notebook.server.http() as http:
        reply = http.post("/api/finetune/start", json=body | {"metadata": behaviour})
    assert reply.status_code == 200, reply.text
    return int(reply.json()["job_id"])


def test_curves_go_on_over_a_reload_and_without_the_kernel(notebook: Notebook) -> None:
    page = notebook.page
    job = start(notebook, steps="1000000", step_s="0.1")
    notebook.run(f"monitor = npu.Monitor({job})\nmonitor")
    monitor = page.locator(".npu-monitor").last
    step = monitor.locator(".npu-progress .npu-number").first

    def now() -> int:
        words = step.inner_text().split()
        return int(words[1].replace(",", "")) if words[:1] == ["step"] else 0

    def until_it_goes_on() -> None:
        begun = now()
        wait_until(lambda: now() > begun)

    until_it_goes_on()
    expect(monitor.locator(".npu-line-train")).to_have_attribute("d", re.compile(r"L[\d.]+ "))
    expect(monitor.get_by_role("img", name="Loss")).to_be_visible()
    monitor.get_by_role("img", name="Loss").focus()
    page.keyboard.press("ArrowLeft")
    expect(monitor.locator(".npu-tip").first).to_contain_text("smoothed")
    notebook.command("docmanager:save")
    page.reload()
    notebook.wait_for_kernel()
    until_it_goes_on()
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    notebook.wait_for_kernel()
    until_it_goes_on()
    monitor.get_by_role("button", name="Stop").click()
    expect(monitor.locator(".npu-badge")).to_have_text("stopped")
    expect(monitor.get_by_role("button", name="Resume")).to_be_visible()


def test_what_has_ended_stays_in_the_notebook_and_opens_a_chat(notebook: Notebook) -> None:
    notebook.run("import npu_jupyter as npu")
    job = start(notebook, steps="20", step_s="0.1", a="")
    cell = notebook.run(f"npu.Monitor({job})")
    monitor = cell.locator(".npu-monitor")
    expect(monitor.locator(".npu-badge")).to_have_text("completed")
    expect(monitor.locator(".npu-result")).to_contain_text(f"served as {LLM}:job-3")
    kept = cell.locator(".npu-kept")
    expect(kept.locator("img")).to_have_count(1)
    expect(kept).to_be_hidden()
    notebook.command("docmanager:save")
    saved = nbformat.read(notebook.path, as_version=4)
    html = [output.data.get("text/html", "") for output in saved.cells[-1].outputs]
    assert "completed" in html[-1]
    assert "data:image/svg+xml" in html[-1]
    monitor.get_by_role("button", name="Compare with base").click()
    opened = notebook.page.locator(".npu-compare").last
    expect(opened.get_by_label("Left model")).to_have_value(LLM)
    expect(opened.get_by_label("Right model")).to_have_value(f"{LLM}:job-3")


def test_a_failure_says_what_is_kept(notebook: Notebook) -> None:
    job = start(notebook, steps="5", fault="tell", a="", b="")
    monitor = notebook.run(f"npu.Monitor({job})").locator(".npu-monitor")
    alert = monitor.get_by_role("alert")
    expect(alert).to_have_text("The loss became NaN at step 3. Checkpoint step 2 is kept.")
    expect(monitor.get_by_role("button", name="Resume")).to_be_enabled()


def test_a_form_checks_the_rows_and_starts_the_job(notebook: Notebook) -> None:
    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    rows = [{"messages": [turn("user", "Two?"), turn("assistant", "Three.")]} for _ in range(3)]
    rows.append({"messages": [turn("user", "Nobody answers.")]})
    lines = "\n".join(json.dumps(row) for row in rows)
    (notebook.path.parent / "tickets.jsonl").write_text(lines, encoding="utf-8")
    cell = notebook.run(f"form = npu.FineTune({LLM!r}, suffix='by-form', epochs=2)\nform")
    form = cell.locator(".npu-finetune")
    start = form.get_by_role("button", name="Start", exact=True)
    expect(start).to_be_disabled()
    form.get_by_label("Dataset").fill("nowhere.jsonl")
    expect(form.get_by_role("alert").filter(has_text="nowhere.jsonl")).to_be_visible()
    form.get_by_label("Dataset").fill("tickets.jsonl")
    expect(form.locator(".npu-check-head")).to_contain_text("4 rows · 1 need attention")
    expect(form.locator(".npu-bad-rows")).to_contain_text("line 4")
    expect(form.locator(".npu-row-text .npu-learned").first).to_contain_text("Three.")
    expect(form.locator(".npu-row-text .npu-read").first).to_contain_text("Two?")
    form.get_by_label("Wait until the file is fixed").check()
    expect(start).to_be_disabled()
    form.get_by_label("Leave them out").check()
    start.click()
    monitor = notebook.page.locator(".npu-monitor").last
    expect(monitor.locator(".npu-title")).to_contain_text(f"{LLM}:by-form")
    expect(monitor.locator(".npu-badge")).to_have_text("completed")
    assert notebook.value("[form.job.status, form.job.facts.config['epochs']]") == ["completed", 2]
    assert notebook.value("form.job.facts.config['rows']") == 3
