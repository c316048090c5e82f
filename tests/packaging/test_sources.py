"""What the repository holds, and what importing it brings in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import npu_jupyter

_CHECKOUT = Path(__file__).parents[2]

# Addresses of download hosts in a lock file bind every user to them, mirrors or not. Put
# together from their parts, so that this file is not found.
_HOSTS = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
    ]
]


def test_no_tracked_file_names_a_download_host() -> None:
    command = ["git", "grep", "-InF", *(f"-e{host}" for host in _HOSTS), "--", "."]
    found = subprocess.run(
        command, cwd=_CHECKOUT, check=False, capture_output=True, encoding="utf-8"
    )
    assert found.stdout == ""
    assert found.returncode == 1, found.stderr


def test_constraints_pin_names_and_leave_torch_open() -> None:
    text = (_CHECKOUT / "requirements" / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) > 1
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!+]+", line)] == []
    assert [line for line in lines if line.startswith(("torch", "nvidia", "npu"))] == []


def test_panel_has_the_package_s_version() -> None:
    package = json.loads((_CHECKOUT / "labextension" / "package.json").read_text(encoding="utf-8"))
    assert package["version"] == npu_jupyter.__version__
    assert npu_jupyter._jupyter_labextension_paths()[0]["dest"] == package["name"]


def _modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a new Python has loaded after a statement."""
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8"
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_importing_the_package_loads_nothing_else() -> None:
    loaded = _modules_after("import npu_jupyter")
    assert loaded & {"jupyter_server", "traitlets", "pydantic", "zmq", "httpx"} == set()


def test_discovery_by_the_server_loads_nothing_heavy() -> None:
    loaded = _modules_after("import npu_jupyter; npu_jupyter._jupyter_server_extension_points()")
    heavy = {"torch", "openvino", "openvino_genai", "transformers", "optimum", "sqlalchemy"}
    assert loaded & (heavy | {"alembic"}) == set()
