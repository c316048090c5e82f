"""``npu.Chat()``: a conversation with a model, in a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from traitlets import Dict, List, Unicode

from npu_jupyter.client import Client
from npu_jupyter.widgets import conversation
from npu_jupyter.widgets.widget import NpuWidget

if TYPE_CHECKING:
    import pandas as pd


class Chat(NpuWidget):
    """A conversation with a model.

    It is kept in the kernel: `messages` has the branch that is shown, `turns` all of them. What
    is set from code is shown at once.
    """

    _module: ClassVar[str] = "chat"

    model = Unicode(help="The model that answers next.").tag(sync=True)
    system = Unicode(help="The system prompt; empty is none.").tag(sync=True)
    settings = Dict(help="Sampling settings, by the names of the API.").tag(sync=True)
    turns = List(Dict(), help="Every turn of every branch.").tag(sync=True)
    leaf = Unicode(help="The id of the last turn that is shown.").tag(sync=True)
    draft = Unicode(help="What is typed and not sent.").tag(sync=True)

    def __init__(
        self,
        model: str = "",
        *,
        system: str = "",
        messages: Iterable[Mapping[str, Any]] = (),
        client: Client | None = None,
        **settings: float | str | list[str] | None,
    ) -> None:
        """Begin a conversation, or go on with `messages`; without `model` one is chosen.

        `settings` are those of ``/v1/chat/completions``: temperature, max_tokens, top_p, seed…

        Raises:
            InvalidRequest: `messages` are none.
            ServerNotFound: no server answers.
        """
        said, turns = conversation.from_messages(messages)
        super().__init__(
            client,
            model=model,
            system=system or said,
            settings=settings,
            turns=turns,
            leaf=turns[-1]["id"] if turns else "",
        )

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation as OpenAI's API takes it."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        shown = conversation.branch(self.turns, self.leaf)
        return [*system, *({"role": t["role"], "content": t["content"]} for t in shown)]

    @messages.setter
    def messages(self, messages: Iterable[Mapping[str, Any]]) -> None:
        system, turns = conversation.from_messages(messages)
        with self.hold_sync():
            self.system = system
            self.turns = turns
            self.leaf = turns[-1]["id"] if turns else ""

    def to_dataframe(self) -> pd.DataFrame:
        """Give the shown branch with a row for each turn: content, model, tokens, speed."""
        import pandas as pd

        columns = (
            "role",
            "content",
            "model",
            "finish_reason",
            "prompt_tokens",
            "completion_tokens",
            "first_token_ms",
            "tokens_per_second",
        )
        return pd.DataFrame(conversation.branch(self.turns, self.leaf), columns=list(columns))

    def to_jsonl(self, path: str | Path) -> None:
        """Append the conversation to a file that a fine-tune can read."""
        conversation.write_jsonl(Path(path), self.messages)

    @classmethod
    def from_jsonl(cls, path: str | Path, line: int = -1, **options: Any) -> Self:
        """Go on with a conversation of a file, by default the last.

        Raises:
            InvalidRequest: `line` holds no conversation.
        """
        return cls(messages=conversation.read_jsonl(Path(path), line), **options)

    def _text(self) -> str:
        said = "\n".join(f"{m['role']}: {m['content']}" for m in self.messages)
        return f"Chat({self.model!r})" + (f"\n{said}" if said else "")

    def _html(self) -> str:
        style = "text-align:left;vertical-align:top;white-space:pre-wrap"
        rows = "".join(
            f"<tr><th style='{style}'>{escape(message['role'])}</th>"
            f"<td style='{style}'>{escape(message['content'])}</td></tr>"
            for message in self.messages
        )
        return f"<p>Chat with {escape(self.model or 'a model')}</p><table>{rows}</table>"
