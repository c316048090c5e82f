"""What both clients do with an import that they wait for."""

from __future__ import annotations

from npu_jupyter.client.answers import error_of
from npu_jupyter.client.records import Pull
from npu_jupyter.errors import NpuError

INTERVAL_S = 0.5


def result(pull: Pull) -> str:
    """Give the name of the model that an import has brought.

    Raises:
        NpuError: for which it failed.
    """
    if pull.model is not None:
        return pull.model
    raise error_of({"error": pull.error}, NpuError.status)
