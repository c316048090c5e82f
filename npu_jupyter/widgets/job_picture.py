"""A fine-tuning job as HTML that needs no kernel and no server: what stays in a saved notebook."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import Any

from npu_jupyter.client import views
from npu_jupyter.client.jobs import JobFacts

_WIDTH, _HEIGHT, _MARGIN = 640, 180, 28
_MOST_POINTS = 500
_LINE, _DOT, _TEXT = "#1976d2", "#d32f2f", "#757575"
_MOST_ROWS = 12


def job_html(job: JobFacts) -> str:
    """Give a job's card, its loss curve as a picture, and a table of what was measured."""
    parts = [views.cards([views.job_card(job)])]
    losses = _points(job.metrics, "loss")
    if len(losses) > 1:
        svg = _picture(losses, _points(job.metrics, "eval_loss"))
        source = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
        words = f"Loss from {losses[0][1]:.2f} to {losses[-1][1]:.2f} at step {losses[-1][0]}"
        parts.append(f'<img src="{source}" alt="{escape(words)}" width="{_WIDTH}">')
    if job.metrics:
        parts.append(views.html(_table(job.metrics)))
    return f'<div class="npu-kept">{"".join(parts)}</div>'


def _points(metrics: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(m["step"], m[name]) for m in metrics if isinstance(m.get(name), int | float)]


def _picture(losses: list[tuple[int, float]], evals: list[tuple[int, float]]) -> str:
    """Draw the loss over steps, from 0 up, with evaluations as dots."""
    last = max(step for step, _ in losses)
    top = max(value for _, value in [*losses, *evals]) or 1.0

    def place(step: int, value: float) -> str:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * step / (last or 1)
        return f"{x:.1f},{_HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * value / top:.1f}"

    every = -(-len(losses) // _MOST_POINTS)
    line = " ".join(place(*point) for point in losses[::every])
    dots = ""
    for point in evals:
        x, y = place(*point).split(",")
        dots += f'<circle cx="{x}" cy="{y}" r="4" fill="{_DOT}"/>'
    floor = _HEIGHT - _MARGIN
    text = f'fill="{_TEXT}" font-family="sans-serif" font-size="11"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f'<path d="M{_MARGIN} {floor}H{_WIDTH - _MARGIN}" stroke="{_TEXT}"/>'
        f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>{dots}'
        f'<text x="{_MARGIN}" y="14" {text}>loss, up to {top:.3g}</text>'
        f'<text x="{_MARGIN}" y="{_HEIGHT - 8}" {text}>step 0</text>'
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 8}" text-anchor="end" {text}>{last}</text>'
        "</svg>"
    )


def _table(metrics: list[dict[str, Any]]) -> views.Table:
    """Tabulate evaluations, or where there are none a few steps of the whole run."""
    shown = [metric for metric in metrics if "eval_loss" in metric]
    if not shown:
        shown = metrics[:: -(-len(metrics) // _MOST_ROWS)]
    names = ("step", "epoch", "loss", "eval_loss", "learning_rate")
    used = tuple(name for name in names if any(name in metric for metric in shown))
    rows = [tuple(_number(metric.get(name)) for name in used) for metric in shown[-_MOST_ROWS:]]
    return views.Table(tuple(name.replace("_", " ").capitalize() for name in used), rows, "")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else views.UNKNOWN
