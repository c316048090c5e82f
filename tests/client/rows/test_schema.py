"""What `extract` makes of a pydantic model or a JSON schema."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field

from npu_jupyter.client.rows.schema import OutputSchema
from npu_jupyter.errors import EngineFailed, InvalidRequest


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int | None = None
    height_m: float = 0.0
    member: bool = False
    tags: list[str] = Field(default_factory=list)


class Team(BaseModel):
    """Several."""

    lead: Person


def test_columns_have_the_types_of_the_fields() -> None:
    assert OutputSchema(Person).columns == {
        "name": "string",
        "age": "Int64",
        "height_m": "Float64",
        "member": "boolean",
        "tags": "object",
    }
    schema = {"properties": {"n": {"type": ["integer", "null"]}, "x": {"enum": [1, "a"]}}}
    assert OutputSchema(schema).columns == {"n": "Int64", "x": "object"}


def test_every_field_must_be_filled_and_none_added() -> None:
    definition = OutputSchema(Team).definition
    person = definition["$defs"]["Person"]
    assert person["additionalProperties"] is definition["additionalProperties"] is False
    assert person["required"] == ["name", "age", "height_m", "member", "tags"]


def test_a_schema_of_the_user_s_stays_as_it_is() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}
    definition = OutputSchema(schema).definition
    assert "required" not in definition
    assert schema == {"type": "object", "properties": {"n": {"type": "integer"}}}


def test_what_the_model_class_refuses_is_an_error_of_the_row() -> None:
    person = OutputSchema(Person)
    read = person.read('{"name": "Ada", "age": 36}')
    assert (read["name"], read["age"], read["tags"]) == ("Ada", 36, [])
    with pytest.raises(EngineFailed, match="age: Input should be a valid integer"):
        person.read('{"name": "Ada", "age": "old"}')
    with pytest.raises(EngineFailed, match="no JSON"):
        person.read('{"name": "A')


@pytest.mark.parametrize("schema", [Person(name="Ada"), "name", {"type": "string"}, {}, int])
def test_what_is_no_schema(schema: Any) -> None:
    with pytest.raises(InvalidRequest):
        OutputSchema(schema)
