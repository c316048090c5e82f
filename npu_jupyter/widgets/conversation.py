"""A conversation as data: a tree of turns, of which one branch is shown."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from npu_jupyter.errors import InvalidRequest

_ROLES = ("user", "assistant")

Turn = dict[str, Any]
"""``id``, ``parent``, ``role``, ``content``; of an answer also ``model``, ``finish_reason``,
``prompt_tokens``, ``completion_tokens``, ``first_token_ms``, ``tokens_per_second``, ``error``."""


def branch(turns: list[Turn], leaf: str) -> list[Turn]:
    """List the turns that lead to `leaf`, the first first."""
    by_id = {turn["id"]: turn for turn in turns}
    path: list[Turn] = []
    turn = by_id.get(leaf)
    while turn is not None:
        path.append(turn)
        turn = by_id.get(turn["parent"])
    return path[::-1]


def from_messages(messages: Iterable[Mapping[str, Any]]) -> tuple[str, list[Turn]]:
    """Read messages as OpenAI has them; give the system prompt and the turns.

    Raises:
        InvalidRequest: a message has another role, or content that is no text.
    """
    system, turns = "", []
    parent = None
    for number, message in enumerate(messages, 1):
        role, content = message.get("role"), message.get("content")
        if not isinstance(content, str) or role not in (*_ROLES, "system"):
            raise InvalidRequest(
                f"Message {number} needs a text as content, and a role of system, user or "
                f"assistant; its role is {role!r}."
            )
        if role == "system":
            system = content
            continue
        turn = {"id": uuid.uuid4().hex[:8], "parent": parent, "role": role, "content": content}
        if role == "assistant":
            turn["finish_reason"] = "stop"
        turns.append(turn)
        parent = turn["id"]
    return system, turns


def write_jsonl(path: Path, messages: list[dict[str, str]]) -> None:
    """Append a conversation as one line, as datasets for fine-tuning have it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


def read_jsonl(path: Path, line: int) -> list[dict[str, Any]]:
    """Read the conversation in a line; -1 is the last.

    Raises:
        InvalidRequest: there is no such line, or none that holds messages.
    """
    lines = [text for text in path.read_text("utf-8").splitlines() if text.strip()]
    try:
        messages: list[dict[str, Any]] = json.loads(lines[line])["messages"]
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(
            f'{path} has {len(lines)} lines; line {line} holds no {{"messages": […]}}.'
        ) from error
    return messages
