"""Servers that end with requests running, and servers that share their data."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil
import pytest
from fakes.waiting import wait_until
from service.conftest import Service
from service.wire import ask, chat, ended, endless, post, streaming, until_text, workers
from serving import EMBEDDER, LLM, Server

ENDS = {
    "asked to end": psutil.Process.terminate,
    "killed": psutil.Process.kill,
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_no_process_outlives_its_server(service: Service, end: str) -> None:
    server = service()
    with streaming(server, endless()) as lines:
        until_text(lines)
        assert post(server, "/v1/embeddings", model=EMBEDDER, input="a").status_code == 200
        children = psutil.Process(server.pid).children(recursive=True)
        assert len(workers(server)) == 2
        ENDS[end](psutil.Process(server.pid))
        with suppress(httpx.TransportError):
            list(lines)
    assert ended([psutil.Process(server.pid), *children])


@pytest.mark.parametrize("end", ENDS)
def test_a_load_does_not_outlive_its_server(fake_service: Service, end: str) -> None:
    server = fake_service(fault="hang_loading")
    with ThreadPoolExecutor() as pool:
        reply = pool.submit(post, server, "/v1/chat/completions", **chat())
        wait_until(lambda: workers(server, "fake_worker"))
        children = workers(server, "fake_worker")
        ENDS[end](psutil.Process(server.pid))
        assert ended([psutil.Process(server.pid), *children])
        with suppress(httpx.TransportError):
            assert reply.result().status_code == 503


def test_a_stopping_server_tells_those_who_wait(fake_service: Service) -> None:
    server = fake_service()
    with streaming(server, endless()) as lines:
        until_text(lines)
        psutil.Process(server.pid).send_signal(signal.SIGTERM)
        with suppress(httpx.TransportError):
            assert not any("[DONE]" in line for line in lines), "half an answer looks whole"
    assert ended([psutil.Process(server.pid)])


@pytest.mark.slow
def test_two_servers_on_one_data_directory(chat_server: Server, service: Service) -> None:
    second = service()
    assert second.data_dir == chat_server.data_dir
    servers = [chat_server, second] * 4
    with ThreadPoolExecutor(len(servers)) as pool:
        answers = list(pool.map(ask, servers))
    assert {answer["usage"]["completion_tokens"] for answer in answers} == {8}
    assert len(workers(chat_server)) == len(workers(second)) == 1
    post(second, "/v1/models/unload", name=LLM)
    assert not workers(second)
    ask(chat_server)
