"""Two things measured in turns, so that what else the machine does falls on both alike."""

from __future__ import annotations

import sys
from collections.abc import Callable

Measurement = Callable[[str], float]
"""Takes what makes this round's prompts unlike all others, as no cache may know them."""


def interleaved(
    bare: Measurement, served: Measurement, rounds: int, what: str
) -> tuple[list[float], list[float]]:
    """Measure both `rounds` times: A B, B A, A B, …, after a round that does not count."""
    samples: tuple[list[float], list[float]] = ([], [])
    sides = (bare, served)
    for i in range(rounds + 1):
        for side in (0, 1) if i % 2 else (1, 0):
            value = sides[side](f"{what}, round {i}")
            if i:
                samples[side].append(value)
        if i:
            print(f"  {what}: {samples[0][-1]:.4g} {samples[1][-1]:.4g}", file=sys.stderr)
    return samples
