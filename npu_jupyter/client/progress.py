"""How far a load or an import is, as a bar that goes away when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from npu_jupyter.client.bar import Bar, bar
from npu_jupyter.client.records import Loading, Pull

LoadProgress = Callable[[Loading], None]
PullProgress = Callable[[Pull], None]

_WAIT = "{desc} [{elapsed}]"
_PERCENT = "{desc} {percentage:3.0f}% {bar:20}"
_BYTES = "{desc} {percentage:3.0f}% {bar:20} {n_fmt}B of {total_fmt}B, {remaining} left"
_WHOLE_PERCENT = 100


@contextmanager
def load_progress(name: str, told: LoadProgress | None) -> Iterator[LoadProgress]:
    """Give what takes the stages of a load: `told`, or a bar."""
    if told is not None:
        yield told
        return
    with _bar(f"{name}: loading") as line:

        def show(loading: Loading) -> None:
            left = f", about {loading.eta_seconds:.0f} s left" if loading.eta_seconds else ""
            _move(line, f"{name}: {loading.stage.replace('_', ' ')}{left}", loading.percent)

        yield show


@contextmanager
def pull_progress(source: str, told: PullProgress | None) -> Iterator[PullProgress]:
    """Give what takes the progress of an import: `told`, or a bar."""
    if told is not None:
        yield told
        return
    with _bar(source, unit_scale=True) as line:

        def show(pull: Pull) -> None:
            detail = f": {pull.message}" if pull.message not in {"", source} else ""
            line.total = pull.total_bytes or None
            line.bar_format = _BYTES if line.total else _WAIT
            line.n = pull.done_bytes
            line.set_description_str(f"{source}: {pull.stage or pull.status}{detail}")

        yield show


@contextmanager
def _bar(what: str, **options: bool) -> Iterator[Bar]:
    line = bar(what, None, bar_format=_WAIT, leave=False, **options)
    try:
        yield line
    finally:
        line.close()


def _move(line: Bar, what: str, percent: float | None) -> None:
    line.total = _WHOLE_PERCENT if percent is not None else None
    line.bar_format = _PERCENT if percent is not None else _WAIT
    line.n = percent or 0
    line.set_description_str(what)
