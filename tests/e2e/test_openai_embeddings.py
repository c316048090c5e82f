"""OpenAI's client for Python, embeddings.

The strict client refuses base64 before the SDK has decoded it, OpenAI's own included, so it
asks for floats here; the default is tested with the client as users have it.
"""

from __future__ import annotations

import math

import pytest
from openai import AsyncOpenAI, OpenAI
from serving import EMBEDDER, Server

TEXTS = ["A cat sleeps.", "A kitten naps.", "Interest rates rose in March."]
DIMENSIONS = 384


def similarity(one: list[float], other: list[float]) -> float:
    """Multiply two vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def floats(client: OpenAI) -> list[list[float]]:
    answer = client.embeddings.create(model=EMBEDDER, input=TEXTS, encoding_format="float")
    assert [row.index for row in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > len(TEXTS)
    return [row.embedding for row in answer.data]


def test_vectors_mean_what_the_texts_mean(floats: list[list[float]]) -> None:
    assert all(len(row) == DIMENSIONS for row in floats)
    assert all(math.isclose(math.hypot(*row), 1, rel_tol=1e-4) for row in floats)
    cat, kitten, rates = floats
    assert similarity(cat, kitten) > 0.5 > similarity(cat, rates)


def test_base64_that_the_client_asks_for_holds_the_same(
    bare_server: Server, floats: list[list[float]]
) -> None:
    as_users_have_it = OpenAI(base_url=f"{bare_server.url}/v1", api_key="none")
    reply = as_users_have_it.embeddings.with_raw_response.create(model=EMBEDDER, input=TEXTS)
    assert all(isinstance(row["embedding"], str) for row in reply.http_response.json()["data"])
    decoded = [row.embedding for row in reply.parse().data]
    for ours, theirs in zip(decoded, floats, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)


@pytest.mark.asyncio(loop_scope="session")
async def test_asyncio_client_embeds(async_client: AsyncOpenAI, floats: list[list[float]]) -> None:
    answer = await async_client.embeddings.create(
        model=EMBEDDER, input=TEXTS[1], encoding_format="float"
    )
    assert answer.data[0].embedding == pytest.approx(floats[1], abs=1e-3)
