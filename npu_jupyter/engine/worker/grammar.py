"""Which JSON schemas the engine's grammar compiler enforces, found out by trying each keyword.

xgrammar, inside openvino_genai 2026.4, takes much of JSON Schema without a word and then ignores
it, and on some of it fails in the middle of a step. An answer that breaks its schema in silence
is worse than an error, so a schema is refused for what would not be kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from llguidance import LLMatcher

from npu_jupyter.errors import InvalidSchema

_PARAM = "response_format.json_schema.schema"

_ANNOTATIONS = {
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
}
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_LENGTHS = ("minLength", "maxLength")
_ALONE = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")
"""Keywords beside which all others are ignored."""

_MISREAD = re.compile("[\u0080-\u00ff][0-9A-Fa-f]")

_SCHEMA = ("items", "additionalProperties")
_LIST_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAP_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")


@lru_cache(maxsize=64)
def check_schema(schema: str) -> None:
    """Refuse a schema that is no grammar, or that would not be kept to.

    Raises:
        InvalidSchema: saying where and why.
    """
    try:
        reason = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(schema))
    except ValueError as error:
        reason = str(error)
    if reason:
        first = json.dumps(reason.splitlines()[0], ensure_ascii=False)
        message = f"This JSON schema cannot be used as a grammar: {first}. Change the schema."
        raise InvalidSchema(message, param=_PARAM)
    for where, fault in _faults(json.loads(schema), ""):
        place = f"at {where}, " if where else ""
        message = f"This JSON schema would not be kept to: {place}{fault}. Change the schema."
        raise InvalidSchema(message, param=_PARAM)


def not_compiled() -> InvalidSchema:
    """Refuse a schema that passed `check_schema` and broke the engine's compiler."""
    message = "The engine cannot compile this JSON schema to a grammar. Simplify it."
    return InvalidSchema(message, param=_PARAM)


def _faults(schema: Any, where: str) -> Iterator[tuple[str, str]]:
    """Walk a schema and yield each place with what is wrong there."""
    if not isinstance(schema, dict):
        return
    for check in (_combination, _reference, _number, _string, _object, _array, _letters):
        if fault := check(schema):
            yield where, fault
    for name, child in _children(schema):
        yield from _faults(child, f"{where}.{name}".lstrip("."))


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _SCHEMA:
        if key in schema:
            yield key, schema[key]
    for key in _LIST_OF_SCHEMAS:
        yield from ((f"{key}.{i}", child) for i, child in enumerate(schema.get(key, [])))
    for key in _MAP_OF_SCHEMAS:
        yield from ((f"{key}.{name}", child) for name, child in schema.get(key, {}).items())


def _combination(schema: dict[str, Any]) -> str | None:
    if len(schema.get("allOf", [])) > 1:
        return "allOf of several schemas is ignored"
    for key in _ALONE:
        others = schema.keys() - _ANNOTATIONS - {key}
        if key in schema and others and not _implied(schema, key):
            return f"what stands beside {key} ({', '.join(sorted(others))}) is ignored"
    return None


def _implied(schema: dict[str, Any], key: str) -> bool:
    """Whether every value that `key` allows meets the rest of the schema anyway."""
    if key not in ("const", "enum"):
        return False
    rest = Draft202012Validator({k: value for k, value in schema.items() if k != key})
    values = schema["enum"] if key == "enum" else [schema["const"]]
    return all(rest.is_valid(value) for value in values)


def _letters(schema: dict[str, Any]) -> str | None:
    """Find text that the compiler writes as a hexadecimal escape and reads back with what follows.

    "Größe" comes out with one letter, U+0DFE, in place of its last two.
    """
    texts = [*schema.get("properties", {}), *schema.get("enum", []), schema.get("const")]
    for text in texts:
        if found := _MISREAD.search(json.dumps(text, ensure_ascii=False)):
            return f"{found[0]!r} in {text!r} is misread. Write it without the accent"
    return None


def _reference(schema: dict[str, Any]) -> str | None:
    reference = schema.get("$ref", "#")
    local = reference == "#" or reference.startswith("#/")
    if local and not set(reference) & {"~", "%"}:
        return None
    return f"the $ref {reference} is not followed. Use one like #/$defs/name"


def _number(schema: dict[str, Any]) -> str | None:
    if "multipleOf" in schema:
        return "multipleOf is ignored"
    bounds = [key for key in _BOUNDS if key in schema]
    if not bounds:
        return None
    types = _types(schema)
    if "number" in types or "integer" not in types:
        return f"{bounds[0]} is enforced for the type integer alone"
    if any(schema[key] != int(schema[key]) for key in bounds):
        return "the bounds of an integer must be integers"
    return None


def _string(schema: dict[str, Any]) -> str | None:
    length = any(key in schema for key in _LENGTHS)
    used = [key for key in (*_LENGTHS, "pattern", "format") if key in schema]
    if used and "string" not in _types(schema):
        return f"{used[0]} is enforced for the type string alone"
    if length + ("pattern" in schema) + ("format" in schema) > 1:
        return f"only one of {', '.join(used)} is enforced"
    return None


def _object(schema: dict[str, Any]) -> str | None:
    properties = schema.get("properties", {})
    unknown = [name for name in schema.get("required", []) if name not in properties]
    if unknown:
        return f"{unknown[0]} is required and not among the properties"
    if "minProperties" in schema:
        return "minProperties is not supported. Use required"
    if properties and "patternProperties" in schema:
        return "properties beside patternProperties are ignored"
    if any(child is False for child in properties.values()):
        return "a property must not be false. Leave it out"
    return None


def _array(schema: dict[str, Any]) -> str | None:
    if schema.get("minItems", 0) > len(schema.get("prefixItems", [])) and not schema.get("items"):
        return "minItems needs items that say what the items are"
    return None


def _types(schema: dict[str, Any]) -> set[str]:
    kind = schema.get("type", [])
    return {kind} if isinstance(kind, str) else set(kind)
