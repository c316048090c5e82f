"""Joins a widget's JavaScript with what it imports, as anywidget takes one module for each.

The files are ES modules as any editor and Node read them. Each keeps a scope of its own when
joined; only the names that they export must differ.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_IMPORT = re.compile(r'^import \{[^}]*\} from "(\.[^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)


@cache
def joined(entry: Path) -> str:
    """Give the module `entry` with all that it imports from files beside it."""
    sources: dict[Path, str] = {}
    _collect(entry.resolve(), sources)
    main = sources.pop(entry.resolve())
    return "\n".join([*map(_scoped, sources.values()), main])


def _collect(path: Path, sources: dict[Path, str]) -> None:
    """Add `path` after what it imports, each file once."""
    if path in sources:
        return
    text = path.read_text("utf-8")
    for name in _IMPORT.findall(text):
        _collect((path.parent / name).resolve(), sources)
    sources[path] = _IMPORT.sub("", text)


def _scoped(source: str) -> str:
    names = ", ".join(_EXPORT.findall(source))
    return (
        f"const {{ {names} }} = (() => {{\n{_EXPORT.sub('', source)}\nreturn {{ {names} }};\n}})();"
    )


@cache
def styles(entry: Path) -> str:
    """Give the style sheet `entry` after the one that all widgets share."""
    shared = entry.parent / "shared" / "style.css"
    return shared.read_text("utf-8") + entry.read_text("utf-8")
