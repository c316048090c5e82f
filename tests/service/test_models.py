"""Taking models into memory and out again, over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes.waiting import wait_until
from service.conftest import Service
from service.wire import (
    ask,
    chat,
    client,
    data,
    endless,
    post,
    status,
    streaming,
    text_of,
    until_text,
    workers,
)
from serving import EMBEDDER, LLM, Server


def load(server: Server, **body: object) -> list[dict[str, object]]:
    """Load a model and give the events that tell of it."""
    reply = post(server, "/v1/models/load", **({"stream": True} | body))
    assert reply.headers["Content-Type"].startswith("text/event-stream"), reply.text
    return list(data(iter(reply.text.splitlines())))


def test_a_load_as_a_stream_tells_its_stages(bare_server: Server) -> None:
    if EMBEDDER in status(bare_server):
        post(bare_server, "/v1/models/unload", name=EMBEDDER)
    *stages, last = load(bare_server, name=EMBEDDER)
    assert {event["status"] for event in stages} == {"loading"}
    told = [event["stage"] for event in stages]
    assert set(told) <= {"find", "read", "compile", "warm_up"}
    assert told[0] == "find"
    assert (last["status"], last["model"], last["type"]) == ("loaded", EMBEDDER, "embedding")
    (again,) = load(bare_server, name=EMBEDDER)
    assert again["status"] == "already_loaded"
    assert again["loaded_at"] == last["loaded_at"]


def test_a_load_that_fails_says_so_in_its_stream(fake_service: Service) -> None:
    server = fake_service(fault="refuse")
    *_, last = load(server, name=LLM)
    error = last["error"]
    assert isinstance(error, dict)
    assert error["code"] == "model_load_failed"
    assert "these weights are bent" in error["message"]


@pytest.mark.slow
def test_an_answer_is_finished_before_its_model_goes(bare_server: Server) -> None:
    ask(bare_server)
    body = chat(stream=True, max_tokens=60, ignore_eos=True)
    with ThreadPoolExecutor() as pool, streaming(bare_server, body) as lines:
        until_text(lines)
        reply = pool.submit(post, bare_server, "/v1/models/unload", name=LLM)
        events = list(data(lines))
        assert events[-1]["choices"][0]["finish_reason"] == "length"
        assert reply.result().json() == {"status": "unloaded", "model": LLM}
    assert LLM not in status(bare_server)


@pytest.mark.slow
def test_an_unload_by_force_ends_answers_with_words(bare_server: Server) -> None:
    ask(bare_server)
    with streaming(bare_server, endless()) as lines:
        until_text(lines)
        reply = post(bare_server, "/v1/models/unload", name=LLM, force=True)
        assert reply.json() == {"status": "unloaded", "model": LLM}
        *_, last = data(lines)
    assert last["error"]["code"] == "model_unloaded"
    assert "Send the request again" in last["error"]["message"]
    reply = post(bare_server, "/v1/models/unload", name=LLM)
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "model_not_found"
    assert "not loaded" in reply.json()["error"]["message"]
    ask(bare_server)


def test_unloading_a_model_that_loads_ends_the_load(fake_service: Service) -> None:
    server = fake_service(fault="hang_loading")
    with ThreadPoolExecutor() as pool:
        waits = pool.submit(post, server, "/v1/chat/completions", **chat())
        wait_until(lambda: workers(server, "fake_worker"))
        model = client(server).get(f"/v1/models/{LLM}").json()
        assert model["npu"]["status"] == "loading"
        assert post(server, "/v1/models/unload", name=LLM).status_code == 200
    assert waits.result().status_code == 503
    assert waits.result().json()["error"]["code"] == "model_unloaded"
    wait_until(lambda: not workers(server, "fake_worker"))


@pytest.mark.slow
def test_eight_first_requests_start_one_worker(service: Service) -> None:
    server = service()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(server), range(8)))
    assert {answer["usage"]["completion_tokens"] for answer in answers} == {8}
    assert len(workers(server)) == 1
    assert server.log.read_text("utf-8").count("Traceback") == 0


@pytest.mark.slow
def test_a_budget_that_holds_one_model_at_a_time(service: Service) -> None:
    """Real weights: the one that answers stays, the idle one makes room."""
    server = service("--ModelPool.memory_budget_mib=700")
    with streaming(server, endless()) as lines:
        until_text(lines)
        refused = post(server, "/v1/embeddings", model=EMBEDDER, input="a")
        assert refused.status_code == 503, refused.text
        assert refused.json()["error"]["code"] == "insufficient_memory"
        assert LLM in refused.json()["error"]["message"]
        assert refused.headers["Retry-After"]
        assert text_of([next(data(lines)) for _ in range(20)])
    wait_until(lambda: not status(server)[LLM]["requests_running"])
    assert post(server, "/v1/embeddings", model=EMBEDDER, input="a").status_code == 200
    assert list(status(server)) == [EMBEDDER]


def test_a_model_that_nobody_uses_sleeps_and_wakes(fake_service: Service) -> None:
    server = fake_service("--ModelPool.keep_alive_s=0.5")
    ask(server)
    wait_until(lambda: not status(server))
    assert client(server).get(f"/v1/models/{LLM}").json()["npu"]["status"] == "sleeping"
    ask(server)
    pinned = post(server, "/v1/models/load", name=LLM, pin=True)
    assert pinned.json()["status"] in {"loaded", "already_loaded"}
    assert status(server)[LLM]["pinned"]
