"""The messages of a chat, as OpenAI clients send them and as chat templates read them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from npu_jupyter.v1.complaints import invalid, unsupported
from npu_jupyter.v1.json_schema import check_depth


def _join_parts(content: Any) -> Any:
    """Join text parts by line breaks: templates of text models know strings alone."""
    if not isinstance(content, list):
        return content
    if not content:
        raise invalid("must not be an empty list")
    return "\n".join(_part_text(number, part) for number, part in enumerate(content))


def _part_text(number: int, part: Any) -> str:
    if not isinstance(part, dict):
        raise invalid(f"must be a string or a list of parts; part {number} is no JSON object")
    kind = part.get("type")
    if kind in {"text", "refusal"}:
        text = part.get(kind)
        if not isinstance(text, str):
            raise invalid(f"has a part {number} of type {kind} whose {kind} is not a string")
        return text
    if kind in {"image_url", "input_audio", "file"}:
        raise unsupported(f"has a part {number} of type {kind}: models here read text only")
    raise invalid(f"has a part {number} whose type is none of: text")


class Message(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(strict=True, extra="ignore", defer_build=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(_join_parts)] = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise invalid("needs content: a string, or a list of text parts")
        return self

    def rendered(self) -> dict[str, Any]:
        """Give what a chat template reads; templates know ``developer`` as ``system``."""
        if self.tool_calls:
            check_depth(self.tool_calls, "messages")
        role = "system" if self.role == "developer" else self.role
        message: dict[str, Any] = {"role": role, "content": self.content or ""}
        for field in ("name", "tool_calls", "tool_call_id"):
            value = getattr(self, field)
            if value is not None:
                message[field] = value
        return message
