"""The bare service tells where it is."""

from __future__ import annotations

from npu_jupyter.service import NpuServer


def test_the_address_that_is_printed_is_what_clients_take() -> None:
    open_to_all = NpuServer(ip="0.0.0.0", port=8001)  # noqa: S104 - never started
    assert open_to_all.running_server_info() == "The OpenAI API is at http://127.0.0.1:8001/v1"
    local = NpuServer(ip="localhost", port=8000)
    assert local.running_server_info() == "The OpenAI API is at http://localhost:8000/v1"
