"""Bare services with options of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from service.wire import ask, post, status
from serving import LLM, ROOT, Server, serve

FAKES = Path(__file__).parents[1] / "fakes"
COMMAND = ["-c", "from npu_jupyter.app import main; main()"]

Service = Callable[..., Server]


@pytest.fixture
def chat_server(bare_server: Server) -> Server:
    """The shared bare service with the chat model in memory, and no other."""
    for name in status(bare_server):
        if name != LLM:
            post(bare_server, "/v1/models/unload", name=name)
    ask(bare_server)
    return bare_server


@pytest.fixture
def service(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Start ``jupyter npu`` with options: ``service("--Launcher.max_running=1")``."""
    with ExitStack() as servers:

        def start(
            *options: str, data_dir: Path = data_dir, variables: Mapping[str, str] = {}
        ) -> Server:
            home = tmp_path_factory.mktemp("service")
            context = serve([*COMMAND, *options], "", "", data_dir, home, variables=variables)
            return servers.enter_context(context)

        yield start


@pytest.fixture
def fake_service(service: Service) -> Service:
    """Start ``jupyter npu`` with workers that have no model in them."""

    def start(*options: str, **worker: object) -> Server:
        return service(
            "--Launcher.worker_module=fake_worker",
            f"--Launcher.device_properties={{'CPU': {worker!r}}}",
            *options,
            variables={"PYTHONPATH": os.pathsep.join(map(str, (ROOT, FAKES)))},
        )

    return start
