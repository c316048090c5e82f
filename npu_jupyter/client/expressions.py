"""Python expressions in a prompt: ``Explain {error} to {', '.join(names)}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython.utils.text import FullEvalFormatter

from npu_jupyter.errors import InvalidRequest


def fill(text: str, names: Mapping[str, Any]) -> str:
    """Evaluate what stands in braces with `names`; ``{{`` and ``}}`` are braces themselves.

    Raises:
        InvalidRequest: an expression fails, with its own error.
    """
    try:
        return FullEvalFormatter().vformat(text, (), dict(names))
    except Exception as error:
        raise InvalidRequest(
            f"An expression in braces cannot be evaluated: {type(error).__name__}: {error}. "
            "Write {{ and }} for braces that are part of the text."
        ) from error
