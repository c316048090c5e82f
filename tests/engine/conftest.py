"""What the engine's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.engines import EngineMaker, engine_maker

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture
def fake_engine(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> EngineMaker:
    """Make engines whose workers are fake: ``fake_engine({"fault": …}, keep_alive_s=…)``."""
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    return engine_maker(data_dir)
