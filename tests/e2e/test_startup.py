"""What the extension costs a Jupyter Server that nobody asks anything of."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_START = """
import json, sys
from jupyter_server.serverapp import ServerApp

server = ServerApp()
server.initialize(argv=sys.argv[1:])
(extension,) = server.extension_manager.extension_apps["npu_jupyter"]
assert extension.engine, "the extension must be there"
print(json.dumps(sorted(sys.modules)))
"""
_HEAVY = {
    "alembic",
    "gguf",
    "huggingface_hub",
    "numpy",
    "openvino",
    "openvino_genai",
    "openvino_tokenizers",
    "optimum",
    "sqlalchemy",
    "tiktoken",
    "tokenizers",
    "torch",
    "transformers",
}


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules in a server that is ready to start."""
    home = tmp_path_factory.mktemp("start")
    folders = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    enabled = "--ServerApp.jpserver_extensions={'npu_jupyter': True}"
    done = subprocess.run(
        [sys.executable, "-c", _START, enabled, "--allow-root", "--ServerApp.port=0"],
        cwd=home,
        env={**os.environ, **folders},
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_nothing_heavy_is_imported(modules: set[str]) -> None:
    assert {"npu_jupyter.app", "npu_jupyter.engine.engine", "npu_jupyter.v1.chat"} <= modules
    assert not _HEAVY & modules
