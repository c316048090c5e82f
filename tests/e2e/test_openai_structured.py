"""OpenAI's client for Python, answers in JSON: any object, a schema, a pydantic model."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from serving import LLM

QUESTIONS = [
    "Describe Paris as JSON.",
    "Describe London as JSON.",
    "Which city has the Tower? Answer as JSON.",
]
CITY: Any = [{"role": "user", "content": QUESTIONS[0]}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"enum": ["Paris", "London"]},
        "districts": {"type": "integer", "minimum": 1, "maximum": 99},
        "sights": {"type": "array", "items": {"enum": ["Louvre", "Tower"]}, "maxItems": 2},
    },
    "required": ["name", "districts", "sights"],
    "additionalProperties": False,
}
AS_SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}


class City(BaseModel):
    """What to say of a city."""

    name: Literal["Paris", "London"]
    continent: Literal["Europe", "Asia"]
    capital: bool


def test_json_object_is_one(client: OpenAI) -> None:
    asked: Any = [{"role": "user", "content": 'Answer with {"capital": "Paris"}, nothing else.'}]
    answer = client.chat.completions.create(
        model=LLM, messages=asked, response_format={"type": "json_object"}, temperature=0
    )
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_validate_against_their_schema(client: OpenAI, question: str) -> None:
    asked: Any = [{"role": "user", "content": question}]
    answer = client.chat.completions.create(
        model=LLM, messages=asked, response_format=AS_SCHEMA, temperature=0
    )
    assert answer.choices[0].finish_reason == "stop"
    Draft202012Validator(SCHEMA).validate(json.loads(answer.choices[0].message.content or ""))


def test_streamed_answer_validates_too(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=LLM, messages=CITY, response_format=AS_SCHEMA, temperature=0, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    Draft202012Validator(SCHEMA).validate(json.loads(text))


def test_parse_gives_a_pydantic_model(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=LLM, messages=CITY, response_format=City, temperature=0
    )
    city = answer.choices[0].message.parsed
    assert isinstance(city, City)
    assert city.name == "Paris"


@pytest.mark.asyncio(loop_scope="session")
async def test_parse_works_with_asyncio(async_client: AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.parse(
        model=LLM, messages=CITY, response_format=City, temperature=0
    )
    assert isinstance(answer.choices[0].message.parsed, City)
