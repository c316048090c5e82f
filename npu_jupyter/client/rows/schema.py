"""What `extract` asks for: a pydantic model or a JSON schema, and the columns it becomes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec

from npu_jupyter.errors import EngineFailed, InvalidRequest

if TYPE_CHECKING:
    from pydantic import BaseModel

_DTYPES = {"string": "string", "integer": "Int64", "number": "Float64", "boolean": "boolean"}
"""pandas types that can be missing, by JSON type."""
_MAX_NAME_LENGTH = 64


class OutputSchema:
    """A schema of an object, closed: the model fills its fields and adds none."""

    def __init__(self, schema: Any) -> None:
        """Read a pydantic model class or a JSON schema.

        Raises:
            InvalidRequest: it is neither, or describes no object with fields.
        """
        self._model: type[BaseModel] | None = None
        if isinstance(schema, dict):
            definition = copy.deepcopy(schema)
        elif isinstance(schema, type) and hasattr(schema, "model_json_schema"):
            self._model = schema
            definition = schema.model_json_schema()
        else:
            raise InvalidRequest(
                f"extract takes a pydantic model or a JSON schema, not {schema!r}.", param="schema"
            )
        fields = definition.get("properties")
        if not isinstance(fields, dict) or not fields:
            raise InvalidRequest(
                "extract needs a schema of an object with properties: they become the columns.",
                param="schema",
            )
        _close(definition, all_required=self._model is not None)
        self.definition = definition
        self.name = str(definition.get("title", "row")).replace(" ", "_")[:_MAX_NAME_LENGTH]
        self.columns = {name: _dtype(field) for name, field in fields.items()}
        """Names of the columns with their pandas types."""

    def read(self, text: str) -> dict[str, Any]:
        """Read an answer.

        Raises:
            EngineFailed: it is no such object.
        """
        try:
            fields = msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise EngineFailed(f"The answer is no JSON: {text!r}") from None
        if self._model is not None:
            from pydantic import ValidationError

            try:
                fields = self._model.model_validate(fields).model_dump(mode="json")
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise EngineFailed(f"{where}: {first['msg']}") from None
        return {name: fields.get(name) for name in self.columns}


def _close(schema: Any, *, all_required: bool) -> None:
    """Let no object have other fields than its own: a model would invent them."""
    if isinstance(schema, list):
        for child in schema:
            _close(child, all_required=all_required)
    elif isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict) and properties:
            schema.setdefault("additionalProperties", False)
            if all_required:
                schema["required"] = list(properties)
        for child in schema.values():
            _close(child, all_required=all_required)


def _dtype(field: Any) -> str:
    """Find the type of a column; one that may be null has the type of what else it may be."""
    kinds: set[str] = set()
    for option in field.get("anyOf", [field]):
        kind = option.get("type", "any")
        kinds |= {kind} if isinstance(kind, str) else set(kind)
    kinds -= {"null"}
    return _DTYPES.get(kinds.pop(), "object") if len(kinds) == 1 else "object"
