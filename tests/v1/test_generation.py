"""What a stream's comments say."""

from __future__ import annotations

import pytest

from npu_jupyter.engine.stream import LoadingModel, Waiting
from npu_jupyter.v1.generation import describe


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Waiting(2, 5), "queued 2/5"),
        (LoadingModel("compile", 40.4, 8.2), "loading compile 40% about 8 s"),
        (LoadingModel("read", None, None), "loading read"),
    ],
)
def test_what_a_request_waits_for_in_words(event: Waiting | LoadingModel, said: str) -> None:
    assert describe(event) == said
