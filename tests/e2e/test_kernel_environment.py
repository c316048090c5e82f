"""What kernels find in their environment, asked of real kernels of real servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from serving import LLM, Server, serve

from npu_jupyter import environment

pytestmark = pytest.mark.slow

_READ = """
import json, os
print(json.dumps({name: value for name, value in os.environ.items() if name.startswith("OPENAI_")}))
"""
_ASK = f"""
from openai import OpenAI
question = [{{"role": "user", "content": "What is the capital of France?"}}]
answer = OpenAI().chat.completions.create(model="{LLM}", messages=question, temperature=0)
print(answer.choices[0].message.content)
"""
_TIMEOUT_S = 120


def run(server: Server, *cells: str) -> list[str]:
    """Run cells in a kernel that the server starts; give what each printed."""
    with server.http() as http:
        started = http.post("/api/kernels", json={"name": "python3"}).json()
        connection = server.log.parent / "runtime" / f"kernel-{started['id']}.json"
        client = BlockingKernelClient(connection_file=str(connection))
        client.load_connection_file()
        client.start_channels(hb=False)
        try:
            client.wait_for_ready(timeout=_TIMEOUT_S)
            return [_printed(client, cell) for cell in cells]
        finally:
            client.stop_channels()
            http.delete(f"/api/kernels/{started['id']}")


def _printed(client: BlockingKernelClient, cell: str) -> str:
    printed: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(cell, output_hook=collect, timeout=_TIMEOUT_S)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed)


def jupyter(*options: str) -> list[str]:
    """Give the command of a Jupyter Server with the extension."""
    enabled = "--ServerApp.jpserver_extensions={'npu_jupyter': True}"
    return ["-m", "jupyter_server", enabled, "--ServerApp.open_browser=False", *options]


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "OPENAI_API_KEY"])
def test_either_variable_of_a_user_keeps_both_his_own(name: str) -> None:
    environ = {name: "a user's own"}
    assert not environment.offer("http://127.0.0.1:8888/v1", "sk-npu-ours", environ)
    assert environ == {name: "a user's own"}


def test_openai_needs_no_arguments(lab: Server) -> None:
    found, said = run(lab, _READ, _ASK)
    given = json.loads(found)
    assert given.keys() == {"OPENAI_BASE_URL", "OPENAI_API_KEY"}
    assert given["OPENAI_BASE_URL"].replace("localhost", "127.0.0.1") == f"{lab.url}/v1"
    assert given["OPENAI_API_KEY"] != lab.token
    assert "Paris" in said


def test_key_of_kernels_opens_no_kernel(lab: Server) -> None:
    given = json.loads(run(lab, _READ)[0])
    with lab.http(Authorization=f"Bearer {given['OPENAI_API_KEY']}") as http:
        assert http.get("/v1/models").status_code == 200
        assert http.get("/api/kernels").status_code == 403


@pytest.mark.parametrize(
    ("option", "theirs"),
    [
        ("--NpuApp.kernel_environment=True", {"OPENAI_BASE_URL": "http://a.users.own/v1"}),
        ("--NpuApp.kernel_environment=False", {}),
    ],
)
def test_what_the_user_has_set_stays_alone(
    data_dir: Path, tmp_path: Path, option: str, theirs: dict[str, str]
) -> None:
    with serve(jupyter(option), "", "a-token", data_dir, tmp_path, variables=theirs) as server:
        assert json.loads(run(server, _READ)[0]) == theirs
