"""LangChain's chat model and embeddings for OpenAI."""

from __future__ import annotations

from typing import Literal

import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr
from serving import EMBEDDER, LLM, Server

QUESTION = "Write three sentences about the city of Paris."


class City(BaseModel):
    """What to say of a city."""

    name: Literal["Paris", "London"]
    continent: Literal["Europe", "Asia"]


@pytest.fixture(scope="module")
def chat(bare_server: Server) -> ChatOpenAI:
    return ChatOpenAI(
        model=LLM,
        base_url=f"{bare_server.url}/v1",
        api_key=SecretStr("none"),
        temperature=0,
        max_retries=0,
    )


def test_invoke(chat: ChatOpenAI) -> None:
    answer = chat.invoke(QUESTION)
    assert "Paris" in answer.text
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 3


def test_stream_puts_the_same_answer_together(chat: ChatOpenAI) -> None:
    pieces = [piece.text for piece in chat.stream(QUESTION)]
    assert len(pieces) > 3
    assert "".join(pieces) == chat.invoke(QUESTION).text


def test_batch_keeps_the_order(chat: ChatOpenAI) -> None:
    answers = chat.batch([QUESTION, "What is the capital of Italy?", QUESTION])
    assert ["Paris" in answer.text for answer in answers] == [True, False, True]
    assert "Rome" in answers[1].text


def test_structured_output(chat: ChatOpenAI) -> None:
    asked = chat.with_structured_output(City, method="json_schema")
    assert asked.invoke("Describe Paris as JSON.") == City(name="Paris", continent="Europe")


def test_embeddings_of_texts(bare_server: Server) -> None:
    embedder = OpenAIEmbeddings(
        model=EMBEDDER,
        base_url=f"{bare_server.url}/v1",
        api_key=SecretStr("none"),
        check_embedding_ctx_length=False,  # else it sends ids of OpenAI's vocabulary
        max_retries=0,
    )
    texts = ["one", "two", "three"]
    vectors = embedder.embed_documents(texts)
    assert [len(vector) for vector in vectors] == [384, 384, 384]
    for text, vector in zip(texts, vectors, strict=True):
        assert embedder.embed_query(text) == pytest.approx(vector, abs=1e-3)
