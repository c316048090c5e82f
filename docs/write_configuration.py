"""Write the tables of configuration.md from the settings themselves.

    python docs/write_configuration.py

A table stands between ``<!-- traits NAME -->`` and ``<!-- end -->``.
"""

# ruff: noqa: INP001 - a script, in no package

from __future__ import annotations

import re
from pathlib import Path

from traitlets import Enum, TraitType
from traitlets.config import Configurable

from npu_jupyter.app import NpuApp
from npu_jupyter.engine.engine import Engine
from npu_jupyter.engine.launch import Launcher
from npu_jupyter.engine.pool import ModelPool
from npu_jupyter.finetune.datasets.library import Datasets
from npu_jupyter.finetune.supervisor import Supervisor
from npu_jupyter.registry.store import Registry

PAGE = Path(__file__).parent / "configuration.md"
CLASSES: tuple[type[Configurable], ...] = (
    NpuApp,
    Engine,
    ModelPool,
    Launcher,
    Registry,
    Datasets,
    Supervisor,
)

_TABLE = re.compile(r"(<!-- traits (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(page: str) -> str:
    """Give the page with each table as it should be.

    Raises:
        KeyError: for a table of a class that there is not.
    """
    tables = {cls.__name__: _table(cls) for cls in CLASSES}
    return _TABLE.sub(lambda match: match[1] + tables[match[2]] + match[3], page)


def tables_in(page: str) -> list[str]:
    """Name the classes that have a table on the page."""
    return [match[2] for match in _TABLE.finditer(page)]


def _table(cls: type[Configurable]) -> str:
    rows = ["| setting | default | |", "|---|---|---|"]
    rows += [_row(cls, name, trait) for name, trait in _ours(cls).items()]
    return "\n".join([*rows, ""])


def _ours(cls: type[Configurable]) -> dict[str, TraitType[object, object]]:
    """Give the settings of a class and of its bases, Jupyter's left out."""
    traits = cls.class_traits(config=True).items()
    return {name: trait for name, trait in traits if _is_ours(trait.this_class)}


def _is_ours(cls: type[object] | None) -> bool:
    return cls is not None and cls.__module__.startswith("npu_jupyter.")


def _row(cls: type[Configurable], name: str, trait: TraitType[object, object]) -> str:
    text = " ".join((trait.help or "").split())
    if isinstance(trait, Enum):
        text += f" One of: {', '.join(map(repr, trait.values or ()))}."
    return f"| `{cls.__name__}.{name}` | `{trait.default()!r}` | {text} |"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
