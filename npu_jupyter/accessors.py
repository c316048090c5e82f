"""Adds ``.npu`` to pandas: at once where pandas is there, else as soon as it is imported."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PANDAS = "pandas"


def register_when_imported() -> None:
    """Add the accessors to pandas, without importing it."""
    if _PANDAS in sys.modules:
        register(sys.modules[_PANDAS])
    elif not any(isinstance(finder, _PandasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PandasFinder())


def register(pandas: Any) -> None:
    """Add the accessors, which import the rest of us at their first use."""
    if hasattr(pandas, "api") and not hasattr(pandas.Series, "npu"):
        pandas.api.extensions.register_series_accessor("npu")(_series_accessor)
        pandas.api.extensions.register_dataframe_accessor("npu")(_frame_accessor)


def _series_accessor(column: Any) -> Any:
    from npu_jupyter.client.rows.accessor import SeriesAccessor

    return SeriesAccessor(column)


def _frame_accessor(frame: Any) -> Any:
    from npu_jupyter.client.rows.accessor import FrameAccessor

    return FrameAccessor(frame)


class _PandasFinder(MetaPathFinder):
    """Waits for the import of pandas, and is gone after it."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - as the base has it
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Let the other finders find pandas, and run it by way of us."""
        if fullname != _PANDAS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(Loader):
    """Runs a module as its own loader does, then adds the accessors to it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module as its own loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, which has then its own loader again, and register."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        register(module)
