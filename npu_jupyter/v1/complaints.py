"""Say what is wrong with a body in a sentence, and name the field."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from npu_jupyter.errors import InvalidRequest, UnsupportedParameter

_SHOWN_CHARACTERS = 40

_UNSUPPORTED = "unsupported"
_INVALID = "invalid"

_SENTENCES = {
    "missing": "{field} is required",
    "float_type": "{field} must be a number, not {value}",
    "int_type": "{field} must be a whole number, not {value}",
    "int_from_float": "{field} must be a whole number, not {value}",
    "float_parsing": "{field} must be a number, not {value}",
    "int_parsing": "{field} must be a whole number, not {value}",
    "bool_parsing": "{field} must be true or false, not {value}",
    "enum": "{field} must be {expected}, not {value}",
    "bool_type": "{field} must be true or false, not {value}",
    "string_type": "{field} must be a string, not {value}",
    "list_type": "{field} must be a list, not {value}",
    "dict_type": "{field} must be a JSON object, not {value}",
    "model_type": "{field} must be a JSON object, not {value}",
    "finite_number": "{field} must be a finite number",
    "greater_than": "{field} must be above {gt}, not {value}",
    "greater_than_equal": "{field} must be at least {ge}, not {value}",
    "less_than": "{field} must be below {lt}, not {value}",
    "less_than_equal": "{field} must be at most {le}, not {value}",
    "literal_error": "{field} must be {expected}, not {value}",
    "string_too_short": "{field} must not be empty",
    "string_too_long": "{field} must have at most {max_length} characters",
    "too_short": "{field} must hold at least {min_length}",
    "too_long": "{field} must hold at most {max_length}, not {actual_length}",
}


def invalid(message: str) -> PydanticCustomError:
    """Make the error that a validator of ours raises; `message` follows the field's name."""
    return PydanticCustomError(_INVALID, "{message}", {"message": message})


def unsupported(message: str) -> PydanticCustomError:
    """Make the error for something that OpenAI has and the engine has not."""
    return PydanticCustomError(_UNSUPPORTED, "{message}", {"message": message})


def complain(error: ValidationError) -> InvalidRequest:
    """Turn the first of pydantic's errors into ours."""
    details = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in details["loc"])
    kind = UnsupportedParameter if details["type"] == _UNSUPPORTED else InvalidRequest
    return kind(f"{_sentence(field, details)}.", param=field)


def _sentence(field: str, details: ErrorDetails) -> str:
    if details["type"] in {_INVALID, _UNSUPPORTED}:
        return f"{field} {details['msg']}"
    sentence = _SENTENCES.get(details["type"], "{field} is not valid")
    facts = {**details.get("ctx", {}), "field": field, "value": _shown(details["input"])}
    return sentence.format_map(facts)


def _shown(value: Any) -> str:
    """Show a value as JSON has it, cut short; containers and long numbers by their kind."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "an object"
        case list():
            return "a list"
        case str() if len(value) > _SHOWN_CHARACTERS:
            return f'the string "{value[:_SHOWN_CHARACTERS]}…"'
        case str():
            return f'the string "{value}"'
        case int() if abs(value) >= 10**_SHOWN_CHARACTERS:
            return "a number of so many digits"
        case _:
            return str(value)
