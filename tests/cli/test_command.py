"""The commands read the configuration that the server reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("command", ["models", "keys"])
def test_the_data_directory_of_the_configuration_file_is_used(tmp_path: Path, command: str) -> None:
    data_dir = tmp_path / "chosen"
    (tmp_path / "jupyter_npu_config.py").write_text(
        f"c.Registry.data_dir = {str(data_dir)!r}\n", encoding="utf-8"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NPU_JUPYTER_DATA"}
    subprocess.run(
        [sys.executable, "-m", "jupyter", "npu", command],
        env=environment | {"JUPYTER_CONFIG_DIR": str(tmp_path)},
        check=True,
        timeout=60,
    )
    assert (data_dir / "npu.sqlite3").is_file()
