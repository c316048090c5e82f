"""Schemas that the engine keeps to are taken, and those that it would ignore are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from npu_jupyter.engine.worker.grammar import check_schema
from npu_jupyter.errors import InvalidSchema


def field(**schema: Any) -> dict[str, Any]:
    """Give a schema of an object with one field."""
    return {
        "type": "object",
        "properties": {"a": schema},
        "required": ["a"],
        "additionalProperties": False,
    }


YES = {"type": "boolean"}


@pytest.mark.parametrize(
    "schema",
    [
        field(type="string"),
        field(type="string", maxLength=3),
        field(type="string", pattern="^[a-z]+$"),
        field(type="string", format="date"),
        field(type=["string", "null"], maxLength=3),
        field(type="integer", minimum=1, maximum=9),
        field(type="integer", minimum=1.0),
        field(type=["integer", "null"], exclusiveMinimum=1),
        field(type="number"),
        field(enum=["a", 1, None]),
        field(enum=["Größt", "日本a", "naïve"]),
        field(enum=["a", "b"], type="string", title="Letter"),
        field(const="a", type="string"),
        field(anyOf=[YES, {"type": "null"}], default=None, title="Maybe"),
        field(allOf=[{"type": "string"}]),
        field(type="array", items=YES, minItems=1, maxItems=3),
        field(type="array", prefixItems=[YES], items=False, minItems=1),
        field(type="object", properties={"pattern": YES, "minimum": YES}),
        {"$defs": {"b": YES}, **field(**{"$ref": "#/$defs/b", "description": "Yes?"})},
        {"type": "object", "additionalProperties": YES},
        {"type": "object", "patternProperties": {"^a": YES}, "additionalProperties": False},
        {"type": "object", "properties": {"a": YES, "b": True}, "required": []},
        {},
    ],
)
def test_what_is_kept_to_is_taken(schema: dict[str, Any]) -> None:
    check_schema(json.dumps(schema))


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (field(type="number", minimum=0), "properties.a, minimum is enforced for the type integer"),
        (field(type="number", exclusiveMaximum=1), "exclusiveMaximum is enforced"),
        (field(minimum=2), "minimum is enforced for the type integer alone"),
        (field(type=["number", "null"], minimum=2), "minimum is enforced"),
        (field(type="integer", minimum=0.5, maximum=3.5), "must be integers"),
        (field(type="integer", multipleOf=7), "multipleOf is ignored"),
        (field(enum=["klein", "Größe"]), "properties.a, 'ße' in 'Größe' is misread"),
        (field(const="über"), "'üb' in 'über' is misread"),
        ({"type": "object", "properties": {"Höhe": YES, "Dächer": YES}}, "in 'Dächer' is misread"),
        (field(type="string", pattern="a+", maxLength=3), "only one of maxLength, pattern"),
        (field(maxLength=3), "maxLength is enforced for the type string alone"),
        (field(allOf=[field(type="string"), {"type": "object"}]), "allOf of several"),
        (field(anyOf=[YES, {"type": "null"}], type="boolean"), r"beside anyOf \(type\)"),
        (field(enum=["a", 1], type="string"), r"beside enum \(type\)"),
        (
            {"$defs": {"b": {"type": "string"}}, **field(**{"$ref": "#/$defs/b", "maxLength": 3})},
            "beside .ref",
        ),
        ({"$defs": {"b/c": YES}, **field(**{"$ref": "#/$defs/b~1c"})}, "is not followed"),
        ({"$defs": {"b": {"$anchor": "b", **YES}}, **field(**{"$ref": "#b"})}, "is not followed"),
        ({"type": "object", "required": ["a"]}, "a is required and not among the properties"),
        ({"type": "object", "minProperties": 1}, "Use required"),
        ({"type": "object", "properties": {"a": False}}, "must not be false"),
        (
            {"type": "object", "properties": {"a": YES}, "patternProperties": {"^b": YES}},
            "beside patternProperties",
        ),
        (field(type="array", minItems=1), "minItems needs items"),
        (field(type="array", items={"type": "number", "minimum": 1}), r"properties\.a\.items, "),
        (field(anyOf=[{"type": "number", "minimum": 1}, YES]), r"properties\.a\.anyOf\.0, "),
    ],
)
def test_what_would_be_ignored_is_refused(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSchema, match=says) as caught:
        check_schema(json.dumps(schema))
    assert caught.value.param == "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "string", "pattern": "(["}, "cannot be used as a grammar"),
        ({"type": "object", "properties": {"a": YES}, "not": {}}, "Unimplemented keys"),
        ({"type": "array", "uniqueItems": True}, "Unimplemented keys"),
        (field(type="integer", minimum=5, maximum=1), "is unsatisfiable"),
        ({"$ref": "#/$defs/nothing"}, "does not exist"),
    ],
)
def test_what_is_no_grammar_is_refused(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSchema, match=says):
        check_schema(json.dumps(schema))
