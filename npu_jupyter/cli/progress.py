"""A line on stderr that shows how far an import is."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import NoReturn, Self

from tqdm import tqdm

from npu_jupyter.registry.records import PullProgress

_REFRESH_S = 0.5
_BYTES_FORMAT = "{desc} {percentage:3.0f}% {bar:20} {n_fmt}B of {total_fmt}B, {remaining} left"
_WAIT_FORMAT = "{desc} [{elapsed}]"


class ProgressLine:
    """Shows one line that moves on a terminal, and a line for each step elsewhere."""

    def __init__(self, source: str) -> None:
        """Show what is being imported."""
        self._source = source
        self._step: tuple[str, str] | None = None
        self._bar: tqdm[NoReturn] | None = None
        self._closed = threading.Event()
        self._moves = sys.stderr.isatty()

    def __enter__(self) -> Self:
        """Begin; a thread keeps the clock going while a step tells nothing."""
        if self._moves:
            threading.Thread(target=self._refresh, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the line."""
        self._closed.set()
        if self._bar is not None:
            self._bar.close()

    def update(self, progress: PullProgress) -> None:
        """Show what `Registry.pull` tells."""
        if self._moves:
            self._move(progress)
        elif (progress.stage, progress.message) != self._step:
            print(_describe(self._source, progress), file=sys.stderr, flush=True)
        self._step = progress.stage, progress.message

    def _move(self, progress: PullProgress) -> None:
        text = _describe(self._source, progress)
        new_stage = self._step is None or self._step[0] != progress.stage
        bar = self._bar
        if bar is None or new_stage or bool(bar.total) != bool(progress.total_bytes):
            if bar is not None:
                bar.close()
            bar = tqdm(
                desc=text,
                total=progress.total_bytes or None,
                bar_format=_BYTES_FORMAT if progress.total_bytes else _WAIT_FORMAT,
                unit_scale=True,
                leave=False,
                dynamic_ncols=True,
                # What a broken download has already says nothing of the speed now.
                initial=progress.done_bytes,
            )
            self._bar = bar
        bar.set_description_str(text, refresh=not progress.total_bytes)
        bar.update(progress.done_bytes - bar.n)

    def _refresh(self) -> None:
        while not self._closed.wait(_REFRESH_S):
            bar = self._bar
            if bar is not None and not bar.total:
                bar.refresh()


def _describe(source: str, progress: PullProgress) -> str:
    # A download names its file or source; saying the source twice would tell nothing.
    detail = "" if progress.message in {"", source} else f": {progress.message}"
    return f"{source}: {progress.stage}{detail}"
