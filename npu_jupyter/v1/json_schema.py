"""Answers that must be JSON: ``response_format`` and the checks of a caller's schema.

The grammar is compiled in the worker, which has the last word; what is certainly no schema,
or too large to compile in reasonable time, does not get that far.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from jsonschema import Draft202012Validator, SchemaError
from pydantic import BaseModel, ConfigDict, Field

from npu_jupyter.errors import InvalidRequest, InvalidSchema

_ANY_OBJECT = '{"type":"object","additionalProperties":true}'
_MAX_DEPTH = 32
_MAX_SCHEMA_BYTES = 65_536
_SCHEMA_FIELD = "response_format.json_schema.schema"


class NamedSchema(BaseModel):
    """A JSON schema with the name that OpenAI gives it."""

    model_config = ConfigDict(strict=True, extra="ignore", defer_build=True)

    name: str | None = None
    strict: bool | None = None
    definition: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(BaseModel):
    """``text``, any JSON object, or JSON of a given schema."""

    model_config = ConfigDict(strict=True, extra="ignore", defer_build=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    def json_text(self) -> str | None:
        """Give the schema that the answer must match, as JSON; None for free text.

        Raises:
            InvalidRequest: ``json_schema`` is wanted and none is given.
            InvalidSchema: it is no JSON schema, or too large.
        """
        if self.type == "text":
            return None
        if self.type == "json_object":
            return _ANY_OBJECT
        if self.json_schema is None:
            field = "response_format.json_schema"
            raise InvalidRequest(f"{field} is required for the type json_schema.", param=field)
        if self.json_schema.definition is None:
            return _ANY_OBJECT
        return _checked(self.json_schema.definition)


def _checked(schema: dict[str, Any]) -> str:
    check_depth(schema, _SCHEMA_FIELD)
    text = msgspec.json.encode(schema)
    if len(text) > _MAX_SCHEMA_BYTES:
        raise InvalidSchema(
            f"The JSON schema has {len(text):,} bytes; at most {_MAX_SCHEMA_BYTES:,} are taken.",
            param=_SCHEMA_FIELD,
        )
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(str(part) for part in error.absolute_path) or "its top"
        raise InvalidSchema(
            f"This is no valid JSON schema: at {where}, {error.message}.", param=_SCHEMA_FIELD
        ) from None
    return text.decode()


def check_depth(value: Any, field: str, allowed: int = _MAX_DEPTH) -> None:
    """Refuse what is nested deeper than the programs behind us can walk.

    Raises:
        InvalidRequest: naming `field`.
    """
    if not isinstance(value, dict | list):
        return
    if allowed == 0:
        raise InvalidRequest(f"{field} is nested more than {_MAX_DEPTH} deep.", param=field)
    for child in value.values() if isinstance(value, dict) else value:
        check_depth(child, field, allowed - 1)
