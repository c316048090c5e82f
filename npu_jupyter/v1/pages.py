"""Lists in pages, as OpenAI's clients turn them: ``after`` an id, ``limit`` at a time."""

from __future__ import annotations

from typing import Any

from npu_jupyter.errors import InvalidRequest
from npu_jupyter.handler import NpuHandler

_MAX_LIMIT = 10_000
_DEFAULT_LIMIT = 20


def page(
    handler: NpuHandler, items: list[dict[str, Any]], *, default_limit: int = _DEFAULT_LIMIT
) -> dict[str, Any]:
    """Give the part of `items` that the query asks for.

    Raises:
        InvalidRequest: `limit` is no number, or `after` names none of them.
    """
    limit = _limit(handler, default_limit)
    after = handler.get_query_argument("after", None)
    first = 0
    if after is not None:
        places = [place for place, item in enumerate(items) if item["id"] == after]
        if not places:
            raise InvalidRequest(f"after names nothing here: {after[:64]!r}.", param="after")
        first = places[0] + 1
    shown = items[first : first + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": first + limit < len(items),
    }


def _limit(handler: NpuHandler, default: int) -> int:
    text = handler.get_query_argument("limit", str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MAX_LIMIT):
        raise InvalidRequest(
            f"limit must be a whole number from 1 to {_MAX_LIMIT:,}, not {text[:40]!r}.",
            param="limit",
        )
    return int(text)
