"""``%load_ext npu_jupyter``: chat and look after models without writing Python."""

from __future__ import annotations

import sys
import time
from contextlib import closing, suppress
from html import escape
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.core.magic_arguments import MagicArgumentParser
from IPython.display import DisplayHandle, display

from npu_jupyter.client.bar import in_a_kernel
from npu_jupyter.client.chatting import Answer, chat
from npu_jupyter.client.connecting import connected, current
from npu_jupyter.client.expressions import fill
from npu_jupyter.client.markdown import to_html
from npu_jupyter.errors import InvalidRequest, NpuError

_DRAW_EVERY_S = 0.1
_COMMANDS = ["models", "status", "devices", "jobs", "load", "unload"]

_LINES = """%npu models               what is registered
%npu status               what is loaded, with its requests
%npu devices              what models can run on
%npu jobs                 fine-tuning jobs
%npu load MODEL [DEVICE]  take a model into memory
%npu unload MODEL         take it out

%%npu MODEL [--temperature T] [--system TEXT] [--max-tokens N] [--seed N] [--as NAME]
a prompt, with {python_expressions}; {{ and }} for braces"""


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add the magics to a shell."""
    shell.register_magics(NpuMagics)
    shell.set_hook("complete_command", _complete, re_key="%{1,2}npu")  # type: ignore[no-untyped-call]


@magics_class
class NpuMagics(Magics):
    """``%npu`` and ``%%npu``."""

    shell: InteractiveShell

    @line_cell_magic
    def npu(self, line: str, cell: str | None = None) -> Any:
        """Look after models, or send a cell to one; `%npu` alone says how."""
        return self._command(line) if cell is None else self._chat(line, cell)

    def _command(self, line: str) -> Any:
        words = line.split()
        if not words:
            print(_LINES)  # noqa: T201 - what a magic is asked to say
            return None
        client = current()
        name, *rest = words
        if name == "load" and rest:
            return client.load(rest[0], device=rest[1] if len(rest) > 1 else None)
        if name == "unload" and len(rest) == 1:
            return client.unload(rest[0])
        asked = {
            "models": client.models,
            "status": client.status,
            "devices": client.devices,
            "jobs": client.finetune.jobs,
        }
        if name not in asked or rest:
            raise InvalidRequest(f"There is no `%npu {line}`. There are:\n{_LINES}")
        return asked[name]()

    def _chat(self, line: str, cell: str) -> None:
        given = _parser().parse_argstring(line)  # type: ignore[no-untyped-call]
        messages = [{"role": "user", "content": fill(cell.strip(), self.shell.user_ns)}]
        if given.system is not None:
            messages.insert(0, {"role": "system", "content": given.system})
        body: dict[str, Any] = {"model": given.model, "messages": messages}
        for field in ("temperature", "max_tokens", "seed"):
            if (value := getattr(given, field)) is not None:
                body[field] = value
        answer = _show(given.model, body)
        if given.name is not None:
            self.shell.user_ns[given.name] = answer.text


def _parser() -> MagicArgumentParser:
    parser = MagicArgumentParser("%%npu")  # type: ignore[no-untyped-call]
    parser.add_argument("model")
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--system")
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--as", dest="name", metavar="NAME")
    return parser


def _show(model: str, body: dict[str, Any]) -> Answer:
    """Show an answer as it comes; an interrupt ends it on the server too and keeps the text."""
    shown = _Cell() if in_a_kernel() else _Terminal()
    answer = Answer()
    stopped = " · stopped"
    try:
        with closing(chat(current(), body)) as answers:
            for answer in answers:
                shown.move(answer)
        stopped = ""
    finally:
        if answer.text:
            shown.end(answer, answer.small_print(model) + stopped)
    return answer


class _Cell:
    """An answer in a cell."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._drawn_at = 0.0

    def move(self, answer: Answer) -> None:
        now = time.monotonic()
        if now - self._drawn_at >= _DRAW_EVERY_S:
            self._drawn_at = now
            self._draw(answer.text, "" if answer.text else answer.waiting or "…")

    def end(self, answer: Answer, small_print: str) -> None:
        self._draw(answer.text, small_print)

    def _draw(self, text: str, small_print: str) -> None:
        bundle = {
            "text/plain": f"{text}\n\n{small_print}".strip(),
            "text/html": f"{to_html(text)}<p><small>{escape(small_print)}</small></p>",
        }
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)  # type: ignore[no-untyped-call]


class _Terminal:
    """An answer as text in a terminal."""

    def __init__(self) -> None:
        self._written = 0

    def move(self, answer: Answer) -> None:
        sys.stdout.write(answer.text[self._written :])
        sys.stdout.flush()
        self._written = len(answer.text)

    def end(self, answer: Answer, small_print: str) -> None:
        self.move(answer)
        sys.stdout.write(f"\n({small_print})\n")


def _complete(_shell: Any, event: Any) -> list[str]:
    """Complete commands, and models where one belongs; without a server, at no wait."""
    words = event.line.split()
    if not words[0].startswith("%%") and (len(words) == 1 or words[1] not in {"load", "unload"}):
        return _COMMANDS
    client = connected()
    with suppress(NpuError):
        return [model.id for model in client.models()] if client else []
    return []
