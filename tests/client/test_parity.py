"""What the client that waits can do, its twin for asyncio can do, by the same names."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from npu_jupyter.client import AsyncClient, Client
from npu_jupyter.client.async_finetune import AsyncFineTuning, AsyncJob
from npu_jupyter.client.finetune import FineTuning, Job

_LOCAL = {"openai"}
"""What asks no server, and so waits for nothing."""
_TWINS = [(Client, AsyncClient), (FineTuning, AsyncFineTuning), (Job, AsyncJob)]


def public(kind: type) -> dict[str, Any]:
    """Give the methods and properties that users see."""
    return {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("kind", "twin"), _TWINS, ids=lambda kind: kind.__name__)
def test_twins_have_the_same_methods(kind: type, twin: type) -> None:
    assert public(kind).keys() == public(twin).keys()
    assert public(kind)


@pytest.mark.parametrize(("kind", "twin"), _TWINS, ids=lambda kind: kind.__name__)
def test_methods_take_the_same_and_say_the_same(kind: type, twin: type) -> None:
    for name, method in public(kind).items():
        other = public(twin)[name]
        assert inspect.getdoc(method) is not None, name
        if not inspect.isfunction(method):
            continue
        taken, taken_too = (
            [p.replace(annotation="") for p in inspect.signature(one).parameters.values()]
            for one in (method, other)
        )
        assert taken == taken_too, name


@pytest.mark.parametrize(("kind", "twin"), _TWINS, ids=lambda kind: kind.__name__)
def test_the_twin_never_blocks(kind: type, twin: type) -> None:
    for name, method in public(twin).items():
        waits = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
        assert waits or not inspect.isfunction(method) or name in _LOCAL, name
