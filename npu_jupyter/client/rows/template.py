"""Prompts with fields: ``"Summarise: {text}"``, filled from a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any

from npu_jupyter.errors import InvalidRequest


class Template:
    """A text with the names of columns in braces; ``{{`` and ``}}`` are braces themselves."""

    def __init__(self, text: str, columns: Iterable[str]) -> None:
        """Read `text`, whose fields must be among `columns`.

        Raises:
            InvalidRequest: a field is no column, or a brace has no partner.
        """
        known = list(columns)
        try:
            self._parts = list(Formatter().parse(text))
        except ValueError as error:
            raise InvalidRequest(
                f"The template {text!r} cannot be read: {error}. Write {{{{ and }}}} for braces "
                "that are part of the text.",
                param="template",
            ) from None
        self.fields = [name for _, name, _, _ in self._parts if name is not None]
        """Names of columns, in the order in which they are used."""
        unknown = [name for name in self.fields if name not in known]
        if unknown or not self.fields:
            fault = f"There is no column {unknown[0]!r}." if unknown else "It names no column."
            raise InvalidRequest(
                f"The template {text!r} cannot be filled. {fault} Columns here: "
                f"{', '.join(known)}. Write {{{{ and }}}} for braces that are part of the text.",
                param="template",
            )

    def fill(self, row: Mapping[str, Any]) -> str:
        """Put the row's values in."""
        filled = []
        for literal, name, form, conversion in self._parts:
            filled.append(literal)
            if name is not None:
                value = repr(row[name]) if conversion == "r" else row[name]
                filled.append(format(value, form) if form else str(value))
        return "".join(filled)
