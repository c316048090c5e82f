"""Clients of the servers that all tests share, and a cache of their own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from client.kernel import Kernel, kernel_of
from serving import Server

import npu_jupyter as npu
from npu_jupyter.client import Client


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test know what another has asked."""
    monkeypatch.setenv("NPU_JUPYTER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def client(bare_server: Server) -> Iterator[Client]:
    """The current client, connected to the bare service."""
    with npu.connect(bare_server.url) as connected:
        yield connected


@pytest.fixture(scope="module")
def kernel(server: Server) -> Iterator[Kernel]:
    """A kernel of the Jupyter Server."""
    with kernel_of(server) as started:
        yield started
