"""tqdm's bar with a line below it, in terminals and in cells.

In a cell it is an output of its own, so that it stays when the notebook is saved, and needs no
widget. Nothing is shown of what takes less than half a second.
"""

from __future__ import annotations

import io
import sys
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm import tqdm

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

    _Tqdm = tqdm[NoReturn]
else:
    _Tqdm = tqdm  # generic for type checkers alone

_DELAY_S = 0.5
_REDRAW_S = 0.25
_COLUMNS = 80

_COLOURS = {
    "running": "var(--jp-brand-color1)",
    "done": "var(--jp-success-color1)",
    "stopped": "var(--jp-border-color0)",
}


class BarState(StrEnum):
    """What the bar's colour and words tell."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class Bar(_Tqdm):
    """A bar in a terminal; what `note` holds is written below it at the end."""

    def __init__(self, what: str, total: float | None, **options: Any) -> None:
        """Begin to count; the bar appears when half a second has gone."""
        self.note = ""
        self.state = BarState.RUNNING
        options = {"file": sys.stderr, "dynamic_ncols": True} | options
        super().__init__(desc=what, total=total, delay=_DELAY_S, mininterval=_REDRAW_S, **options)

    @property
    def shown(self) -> bool:
        """Whether anybody has seen it."""
        return bool(self.last_print_t >= self.start_t + _DELAY_S)

    def end(self, state: BarState, note: str, *, always: bool = False) -> None:
        """Leave the bar as it is, with a last line; `always` tells it of a quick run too."""
        self.state, self.note = state, note
        shown = self.shown
        self.close()
        if note and (shown or always):
            self._tell()

    def _tell(self) -> None:
        tqdm.write(self.note, file=self.fp)


class CellBar(Bar):
    """The same in a cell of a notebook."""

    def __init__(self, what: str, total: float | None, **options: Any) -> None:
        """Begin to count."""
        self._handle: DisplayHandle | None = None
        super().__init__(what, total, file=io.StringIO(), ncols=_COLUMNS, ascii=False, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw bar and note."""
        del msg, pos
        self._show({"text/plain": self._plain(), "text/html": self._html()})

    def _tell(self) -> None:
        if self.shown:
            self.display()
        else:
            self._show({"text/plain": self.note, "text/html": _line(self.note)})

    def _show(self, bundle: dict[str, str]) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)  # type: ignore[no-untyped-call]

    def _plain(self) -> str:
        return f"{self.format_meter(**self.format_dict)}\n{self.note}".rstrip()

    def _html(self) -> str:
        percent = 100 * self.n / self.total if self.total else 0.0
        facts = self.format_meter(**{**self.format_dict, "bar_format": _FACTS[self.state]})
        head = f"{self.desc.removesuffix(': ')}: {percent:.0f} %"
        return (
            '<div style="display:flex;align-items:center;gap:8px;max-width:820px;'
            'color:var(--jp-ui-font-color1);font-variant-numeric:tabular-nums">'
            f"<span>{escape(head)}</span>"
            f'<div role="progressbar" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{percent:.0f}" aria-valuetext="{escape(head)}, {self.state}" '
            'style="flex:1;height:8px;background:var(--jp-layout-color3)">'
            f'<div style="height:8px;width:{percent:.1f}%;background:{_COLOURS[self.state]}"></div>'
            f"</div><span>{escape(facts)}</span></div>{_line(self.note)}"
        )


_FACTS = {
    BarState.RUNNING: "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]",
    BarState.DONE: "{n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}]",
    BarState.STOPPED: "{n_fmt}/{total_fmt}, stopped after {elapsed}",
}


def _line(note: str) -> str:
    return (
        '<div style="color:var(--jp-ui-font-color2);font-size:var(--jp-ui-font-size1,13px)">'
        f"{escape(note)}</div>"
    )


def bar(what: str, total: float | None, **options: Any) -> Bar:
    """Give the bar that fits where this runs."""
    return (CellBar if in_a_kernel() else Bar)(what, total, **options)


def in_a_kernel() -> bool:
    """Whether outputs go to a notebook: IPython is there already if so."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None
