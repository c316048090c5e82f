"""Texts and token ids: the four forms in which OpenAI clients send prompts and inputs."""

from __future__ import annotations

from typing import Any

from npu_jupyter.v1.complaints import invalid

_MAX_TOKEN_ID = 2**31 - 1
_FORMS = "must be a string, a list of strings, a list of token ids or a list of such lists"


def as_prompts(value: Any) -> list[str] | list[list[int]]:
    """Bring all four forms into one: a list, of texts or of token ids.

    Raises:
        PydanticCustomError: it is none of the four.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise invalid(_FORMS)
    if not value:
        raise invalid("must not be empty")
    if all(isinstance(item, str) for item in value):
        return value
    lists = value if isinstance(value[0], list) else [value]
    for ids in lists:
        _check_ids(ids)
    return lists


def _check_ids(ids: Any) -> None:
    if not isinstance(ids, list) or not all(type(token) is int for token in ids):
        raise invalid(_FORMS)
    if not ids:
        raise invalid("holds an empty list of token ids")
    if min(ids) < 0 or max(ids) > _MAX_TOKEN_ID:
        raise invalid(f"holds a token id below 0 or above {_MAX_TOKEN_ID}")
