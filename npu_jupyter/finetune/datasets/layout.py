"""Which columns hold what: told by their names or by the caller, and rows made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from npu_jupyter.errors import InvalidRequest
from npu_jupyter.finetune.datasets.rows import BadRow, Message, Row


class Format(StrEnum):
    """What a record says."""

    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    PROMPT = "prompt"
    ALPACA = "alpaca"
    TEXT = "text"


_REQUIRED = {
    Format.MESSAGES: ("messages",),
    Format.SHAREGPT: ("conversations",),
    Format.PROMPT: ("prompt", "completion"),
    Format.ALPACA: ("instruction", "output"),
    Format.TEXT: ("text",),
}
_OPTIONAL = {Format.SHAREGPT: ("system",), Format.ALPACA: ("input", "system")}
KNOWN_COLUMNS = frozenset(
    column for columns in (*_REQUIRED.values(), *_OPTIONAL.values()) for column in columns
)
_ROLES = frozenset({"system", "user", "assistant"})
_OTHER_ROLES = {"developer": "system"}
_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}


class Layout:
    """A format, and where its parts are."""

    def __init__(self, format_: Format, columns: Mapping[str, str]) -> None:
        """Take the parts of `format_` from `columns`: our name to theirs."""
        self.format = format_
        parts = (*_REQUIRED[format_], *_OPTIONAL.get(format_, ()))
        self.columns = {part: columns.get(part, part) for part in parts}
        self._make: Callable[[Mapping[str, Any]], Row] = {
            Format.MESSAGES: self._messages,
            Format.SHAREGPT: self._sharegpt,
            Format.PROMPT: self._prompt,
            Format.ALPACA: self._alpaca,
            Format.TEXT: self._text,
        }[format_]

    def row(self, line: int, record: Mapping[str, Any]) -> Row:
        """Make a row of a record; raise `BadRow` that says what is wrong with it."""
        try:
            return msgspec.structs.replace(self._make(record), line=line)
        except _Wrong as wrong:
            raise BadRow(line, str(wrong)) from None

    def _messages(self, record: Mapping[str, Any]) -> Row:
        column = self.columns["messages"]
        return Row(0, _chat(_list(record, column), column, "role", "content", {}))

    def _sharegpt(self, record: Mapping[str, Any]) -> Row:
        column = self.columns["conversations"]
        chat = _chat(_list(record, column), column, "from", "value", _SHAREGPT_ROLES)
        return Row(0, (*self._system(record), *chat))

    def _prompt(self, record: Mapping[str, Any]) -> Row:
        prompt, completion = (self.columns[part] for part in ("prompt", "completion"))
        return Row(0, prompt=_string(record, prompt), completion=_filled(record, completion))

    def _alpaca(self, record: Mapping[str, Any]) -> Row:
        instruction = _filled(record, self.columns["instruction"])
        answer = _filled(record, self.columns["output"])
        given = _optional(record, self.columns["input"])
        prompt = f"{instruction}\n\n{given}" if given else instruction
        system = self._system(record)
        if not system:
            return Row(0, prompt=prompt, completion=answer)
        return Row(0, (*system, Message("user", prompt), Message("assistant", answer)))

    def _text(self, record: Mapping[str, Any]) -> Row:
        return Row(0, text=_filled(record, self.columns["text"]))

    def _system(self, record: Mapping[str, Any]) -> tuple[Message, ...]:
        text = _optional(record, self.columns["system"])
        return (Message("system", text),) if text else ()


def find_layout(
    head: Sequence[Mapping[str, Any]], columns: Mapping[str, str], format_: str | None
) -> Layout:
    """Tell the format of a dataset by the columns of its first records.

    A column counts that at least half of them have: a row that was put in by mistake must not
    make a dataset ambiguous.

    Raises:
        InvalidRequest: none fits, more than one does, or `columns` or `format_` name what is
            not there; with the columns that are, and what to give.
    """
    counts = Counter(column for record in head for column in record)
    found = list(counts)
    _check_columns(columns, found)
    common = {column for column, count in counts.items() if count * 2 >= len(head)}
    usable = {*columns, *(common - {*columns.values()})}
    fitting = [
        candidate
        for candidate, required in _REQUIRED.items()
        if usable.issuperset(required)
        and {*required, *_OPTIONAL.get(candidate, ())}.issuperset(columns)
    ]
    if format_ is not None:
        fitting = [_checked_format(format_, fitting, found)]
    if not fitting:
        raise InvalidRequest(
            f"The columns are {_names(found)}, which is none of the formats read here: "
            f"{_formats(_REQUIRED)}. Say which column is what, such as "
            '{"prompt": "question", "completion": "answer"}, by columns.',
            param="columns",
        )
    if len(fitting) > 1:
        raise InvalidRequest(
            f"The columns are {_names(found)}, which can be read as {_formats(fitting)}. Say "
            "which by format, or name the columns to take by columns.",
            param="format",
        )
    return Layout(fitting[0], columns)


def _check_columns(columns: Mapping[str, str], found: Sequence[str]) -> None:
    for ours, theirs in columns.items():
        if ours not in KNOWN_COLUMNS:
            raise InvalidRequest(
                f"columns maps {ours!r}, which is none of {', '.join(sorted(KNOWN_COLUMNS))}.",
                param="columns",
            )
        if theirs not in found:
            raise InvalidRequest(
                f"There is no column {theirs!r}; there are {_names(found)}.", param="columns"
            )


def _checked_format(name: str, fitting: Sequence[Format], found: Sequence[str]) -> Format:
    if name not in set(Format):
        raise InvalidRequest(
            f"format is {name!r}; it must be one of {', '.join(Format)}.", param="format"
        )
    if name not in fitting:
        raise InvalidRequest(
            f"The format {name} needs the columns {', '.join(_REQUIRED[Format(name)])}; there are "
            f"{_names(found)}. Say which column is what by columns.",
            param="columns",
        )
    return Format(name)


def _names(columns: Sequence[str]) -> str:
    return ", ".join(repr(column) for column in columns) or "none"


def _formats(formats: Sequence[Format] | Mapping[Format, Any]) -> str:
    return " or ".join(f"{one} ({' and '.join(_REQUIRED[one])})" for one in formats)


# Values of a record


class _Wrong(Exception):
    """What is wrong with a record, in words that are the same for the same fault."""


def _string(record: Mapping[str, Any], column: str) -> str:
    value = record.get(column)
    if value is None:
        raise _Wrong(f"{column} is missing")
    if not isinstance(value, str):
        raise _Wrong(f"{column} is no text")
    return value


def _filled(record: Mapping[str, Any], column: str) -> str:
    value = _string(record, column)
    if not value.strip():
        raise _Wrong(f"{column} is empty")
    return value


def _optional(record: Mapping[str, Any], column: str) -> str:
    return "" if record.get(column) is None else _string(record, column)


def _list(record: Mapping[str, Any], column: str) -> list[Any]:
    value = record.get(column)
    if isinstance(value, str):  # a table of texts, such as CSV
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            raise _Wrong(f"{column} is a text and no JSON") from None
    if value is None:
        raise _Wrong(f"{column} is missing")
    if not isinstance(value, list):
        raise _Wrong(f"{column} is no list")
    if not value:
        raise _Wrong(f"{column} is empty")
    return value


def _chat(
    items: Sequence[Any], column: str, role_key: str, content_key: str, roles: Mapping[str, str]
) -> tuple[Message, ...]:
    if isinstance(items[0], dict) and role_key not in items[0] and "role" in items[0]:
        role_key, content_key = "role", "content"  # OpenAI's messages under another name
    return tuple(
        _message(item, f"{column}[{index}]", role_key, content_key, roles)
        for index, item in enumerate(items)
    )


def _message(
    item: Any, place: str, role_key: str, content_key: str, roles: Mapping[str, str]
) -> Message:
    if not isinstance(item, dict):
        raise _Wrong(f"{place} is no object")
    said = item.get(role_key)
    role = roles.get(str(said), _OTHER_ROLES.get(str(said), str(said)))
    if said is None:
        raise _Wrong(f"{place} has no {role_key}")
    if role not in _ROLES:
        raise _Wrong(f"{place} has a {role_key} that is none of {_names(sorted(roles or _ROLES))}")
    if item.get("tool_calls") or item.get("function_call"):
        raise _Wrong(f"{place} calls a tool, which is not learned here")
    content = _content(item.get(content_key), place, content_key)
    if role == "assistant" and not content.strip():
        raise _Wrong(f"{place} is an empty answer")
    weight = 1 if item.get("weight") is None else item["weight"]
    if weight not in (0, 1):
        raise _Wrong(f"{place} has a weight that is neither 0 nor 1")
    return Message(role, content, int(weight))


def _content(content: Any, place: str, key: str) -> str:
    """Give the text of a message, its parts joined as they are when the model serves."""
    if isinstance(content, list) and content:
        texts = [part.get("text") if isinstance(part, dict) else None for part in content]
        if not all(isinstance(text, str) for text in texts):
            raise _Wrong(f"{place} has parts that are no text")
        return "\n".join(str(text) for text in texts)
    if not isinstance(content, str):
        raise _Wrong(f"{place} has no {key}" if content is None else f"{place}.{key} is no text")
    return content
