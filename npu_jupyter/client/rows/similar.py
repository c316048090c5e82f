"""Nearest in meaning: the dot product of vectors of length 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def nearest(query: Any, vectors: list[Any], k: int) -> pd.Series[Any]:
    """Give the similarity of the `k` nearest by position, the nearest first."""
    known = [position for position, vector in enumerate(vectors) if vector is not None]
    if not known:
        return pd.Series(dtype="float32")
    similarity = np.stack([vectors[position] for position in known]) @ query
    order = np.argsort(-similarity, kind="stable")[: max(0, k)]
    return pd.Series(similarity[order], index=np.asarray(known)[order])
