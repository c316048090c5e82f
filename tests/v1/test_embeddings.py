"""Embeddings, by OpenAI's client and LangChain's."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
import requests
import tiktoken
from langchain_openai import OpenAIEmbeddings
from openai import BadRequestError, OpenAI
from serving import EMBEDDER, LLM, Server

from npu_jupyter.v1 import embeddings

DIMENSIONS = 384
TEXTS = ["A cat sits on the mat.", "The kitten is on the rug.", "Interest rates rose again."]


def sdk(server: Server) -> OpenAI:
    """Give a client that asks for base64, as it does by default, and decodes it.

    Its strict mode checks the type before it decodes, so that no base64 at all passes it.
    """
    return server.client(_strict_response_validation=False)


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_what_means_the_same_is_near(server: Server) -> None:
    reply = sdk(server).embeddings.with_raw_response.create(model=EMBEDDER, input=TEXTS)
    assert reply.headers["x-npu-device"] == "CPU"
    answer = reply.parse()
    cat, kitten, rates = (item.embedding for item in answer.data)
    assert len(cat) == DIMENSIONS
    assert dot(cat, cat) == pytest.approx(1, abs=1e-4)
    assert dot(cat, kitten) > dot(cat, rates) + 0.3
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > len(" ".join(TEXTS).split())


def test_floats_and_base64_hold_the_same(server: Server) -> None:
    body: Any = {"model": EMBEDDER, "input": TEXTS[0]}
    with server.http() as http:
        floats, encoded, default = (
            http.post("/v1/embeddings", json=body | extra).json()["data"][0]["embedding"]
            for extra in ({"encoding_format": "float"}, {"encoding_format": "base64"}, {})
        )
    assert isinstance(encoded, str)
    assert list(struct.unpack(f"<{DIMENSIONS}f", base64.b64decode(encoded))) == floats == default
    strict = server.client().embeddings.create(**body, encoding_format="float")
    assert strict.data[0].embedding == floats


def test_fewer_dimensions_keep_the_length_of_one(server: Server) -> None:
    client = sdk(server)
    full = client.embeddings.create(model=EMBEDDER, input=TEXTS[0]).data[0].embedding
    short = client.embeddings.create(model=EMBEDDER, input=TEXTS[0], dimensions=64)
    embedding = short.data[0].embedding
    assert len(embedding) == 64
    assert dot(embedding, embedding) == pytest.approx(1, abs=1e-4)
    scale = full[0] / embedding[0]
    assert [value * scale for value in embedding] == pytest.approx(full[:64], abs=1e-5)


def test_more_dimensions_than_there_are(server: Server) -> None:
    with pytest.raises(BadRequestError, match=r"384 dimensions; 385") as refused:
        sdk(server).embeddings.create(model=EMBEDDER, input="x", dimensions=DIMENSIONS + 1)
    assert refused.value.param == "dimensions"


def test_an_empty_text_and_the_most_texts(server: Server) -> None:
    client = sdk(server)
    assert len(client.embeddings.create(model=EMBEDDER, input="").data[0].embedding) == DIMENSIONS
    many = client.embeddings.create(model=EMBEDDER, input=["a", "b"] * 1024)
    assert len(many.data) == 2048
    assert many.data[0].embedding == pytest.approx(many.data[2].embedding, abs=1e-5)
    assert many.data[2047].index == 2047


def test_langchain_without_its_tokens(server: Server) -> None:
    lang = OpenAIEmbeddings(
        model=EMBEDDER,
        base_url=f"{server.url}/v1",
        api_key=server.token,  # type: ignore[arg-type]
        check_embedding_ctx_length=False,
    )
    ours = sdk(server).embeddings.create(model=EMBEDDER, input=TEXTS)
    for theirs, item in zip(lang.embed_documents(TEXTS), ours.data, strict=True):
        assert theirs == pytest.approx(item.embedding, abs=1e-5)


def cl100k() -> Any:
    """Give OpenAI's vocabulary, where it can be had."""
    try:
        return tiktoken.get_encoding("cl100k_base")
    except requests.RequestException:
        return None


def test_token_ids_are_read_as_openais(server: Server) -> None:
    encoding = cl100k()
    client = sdk(server)
    if encoding is None:
        with pytest.raises(BadRequestError, match="check_embedding_ctx_length=False") as refused:
            client.embeddings.create(model=EMBEDDER, input=[4719, 4758])
        assert refused.value.param == "input"
        return
    ids = [encoding.encode(text) for text in TEXTS]
    from_ids = client.embeddings.create(model=EMBEDDER, input=ids)
    from_texts = client.embeddings.create(model=EMBEDDER, input=TEXTS)
    assert from_ids == from_texts
    with pytest.raises(BadRequestError, match="cl100k_base does not have"):
        client.embeddings.create(model=EMBEDDER, input=[100_256])


def test_a_chat_model_names_its_endpoint(server: Server) -> None:
    with pytest.raises(BadRequestError, match="/v1/chat/completions") as refused:
        sdk(server).embeddings.create(model=LLM, input="x")
    assert refused.value.param == "model"


def test_a_row_is_shortened_and_has_length_one() -> None:
    row = struct.pack("<4f", 3, 4, 5, 6)
    assert struct.unpack("<2f", embeddings._shortened(row, 2)) == pytest.approx((0.6, 0.8))
    assert struct.unpack("<2f", embeddings._shortened(bytes(16), 2)) == (0, 0)


def test_a_text_longer_than_the_context_is_refused_not_cut(server: Server) -> None:
    for text in ("word " * 300, "word " * 20_000):
        with pytest.raises(BadRequestError, match=r"\d+ tokens.* 256") as refused:
            sdk(server).embeddings.create(model=EMBEDDER, input=["short", text])
        assert refused.value.code == "context_length_exceeded"
        assert refused.value.param == "input.1"
