"""``npu.Compare()``: two models side by side on one prompt, in a cell."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

from traitlets import Bool, Dict, List, Unicode

from npu_jupyter.client import Client
from npu_jupyter.widgets.widget import NpuWidget

if TYPE_CHECKING:
    import pandas as pd

_SAME_FOR_BOTH = {"temperature": 0, "seed": 42}
"""Without chance what differs is the models'."""


class Compare(NpuWidget):
    """Two models on the same prompts, with the same settings; `results` has what came of it."""

    _module: ClassVar[str] = "compare"

    left_model = Unicode().tag(sync=True)
    right_model = Unicode().tag(sync=True)
    system = Unicode(help="The system prompt; empty is none.").tag(sync=True)
    settings = Dict(help="Sampling settings, by the names of the API.").tag(sync=True)
    mark = Bool(True, help="Whether differing words are marked.").tag(sync=True)
    pairs = List(Dict(), help="Each prompt with both answers and the vote.").tag(sync=True)

    def __init__(
        self,
        left: str = "",
        right: str = "",
        *,
        prompts: Iterable[str] = (),
        system: str = "",
        client: Client | None = None,
        **settings: float | str | list[str] | None,
    ) -> None:
        """Put two models beside each other, as a base and its adapter.

        `prompts` (a list, a Series) wait to be run; `settings` are those of
        ``/v1/chat/completions``, by default temperature 0 and seed 42.

        Raises:
            ServerNotFound: no server answers.
        """
        waiting = [{"id": uuid.uuid4().hex[:8], "prompt": str(p), "vote": None} for p in prompts]
        super().__init__(
            client,
            left_model=left,
            right_model=right,
            system=system,
            settings=_SAME_FOR_BOTH | settings,
            pairs=waiting,
        )

    @property
    def results(self) -> pd.DataFrame:
        """A row for each prompt: both answers, the part of words they share, and the vote."""
        import pandas as pd

        columns = ["prompt", "left", "right", "shared_words", "vote", "left_model", "right_model"]
        return pd.DataFrame(self._rows(), columns=columns)

    def _text(self) -> str:
        said = (f"\n{row['prompt']}\n  {row['left']}\n  {row['right']}" for row in self._rows())
        return f"Compare({self.left_model!r}, {self.right_model!r})" + "".join(said)

    def _html(self) -> str:
        keys = ("prompt", "left", "right", "vote")
        rows: list[tuple[str, ...]] = [("Prompt", self.left_model, self.right_model, "Vote")]
        rows += [tuple(row[key] or "" for key in keys) for row in self._rows()]
        style = "text-align:left;vertical-align:top;white-space:pre-wrap"
        lines = (
            "".join(f"<td style='{style}'>{escape(cell)}</td>" for cell in row) for row in rows
        )
        return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"

    def _rows(self) -> list[dict[str, Any]]:
        return [_row(pair) for pair in self.pairs]


def _row(pair: dict[str, Any]) -> dict[str, Any]:
    left, right = pair.get("left") or {}, pair.get("right") or {}
    return {
        "prompt": pair["prompt"],
        "left": left.get("content"),
        "right": right.get("content"),
        "shared_words": pair.get("shared_words"),
        "vote": pair.get("vote"),
        "left_model": left.get("model"),
        "right_model": right.get("model"),
    }
