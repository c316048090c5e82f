"""How answers look, and that nothing in them is markup."""

from __future__ import annotations

from npu_jupyter.client import views
from npu_jupyter.client.jobs import Described, JobFacts
from npu_jupyter.client.records import (
    Device,
    DeviceList,
    LoadedList,
    LoadedModel,
    Model,
    ModelList,
)

_EVIL = "<script>alert(1)</script>|*x*"


class Shown(Described):
    """A job that no server has."""

    def __init__(self, facts: JobFacts) -> None:
        self.facts = facts


def all_views() -> list[tuple[str, str]]:
    """Give HTML and Markdown of everything with a name that is markup."""
    shown = (
        ModelList([Model(id=_EVIL, status=_EVIL, parent=_EVIL)]),
        LoadedList([LoadedModel(name=_EVIL, device=_EVIL)]),
        DeviceList([Device(name=_EVIL, full_name=_EVIL, available=False, advice=_EVIL)]),
        Shown(JobFacts(id=1, dataset=_EVIL, status="failed", error=_EVIL)),
    )
    return [(view._repr_html_(), view._repr_markdown_()) for view in shown]


def test_names_are_never_markup() -> None:
    for html, markdown in all_views():
        assert "&lt;script&gt;" in html
        assert "<script>" not in html
        assert "<script>" not in markdown
        assert "\\|\\*x\\*" in markdown


def test_colours_are_jupyterlab_s() -> None:
    for html, _ in all_views():
        assert "var(--jp-" in html
        assert "#" not in html
        assert "rgb(" not in html


def test_a_table_in_a_terminal() -> None:
    models = ModelList(
        [
            Model(id="chat", status="loaded", device="NPU", type="llm", size_bytes=98_000_000),
            Model(id="chat:mine", status="registered", type="llm", parent="chat"),
        ]
    )
    lines = repr(models).splitlines()
    assert lines[0].startswith("MODEL")
    assert "✓ loaded" in lines[1]
    assert "98 MB" in lines[1]
    assert lines[2].endswith("chat")
    assert "○ registered" in lines[2]


def test_empty_lists_say_what_to_do() -> None:
    assert "jupyter npu pull" in repr(ModelList())
    assert "jupyter npu pull" in ModelList()._repr_html_()
    assert "first request" in repr(LoadedList())


def test_a_job_says_how_far_it_is() -> None:
    running = JobFacts(
        id=7,
        model_name="chat",
        dataset="talks.jsonl",
        status="running",
        stage="training",
        current_step=30,
        total_steps=120,
        eta_seconds=95,
    )
    assert repr(Shown(running)) == (
        "Job 7: running: training · chat · talks.jsonl · step 30 of 120 (25 %) · about 2 min left"
    )


def test_lengths_of_time_and_sizes() -> None:
    assert [views.duration(s) for s in (None, 0, 41.4, 150, 7500)] == [
        views.UNKNOWN,
        "0 s",
        "41 s",
        "2 min",
        "2 h 5 min",
    ]
    assert [views.size(n) for n in (None, 0, 25_000_000, 2_500_000_000)] == [
        views.UNKNOWN,
        views.UNKNOWN,
        "25 MB",
        "2.5 GB",
    ]
