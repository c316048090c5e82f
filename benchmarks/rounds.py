"""Two things measured in turns, so that what else the machine does falls on both alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import psutil

Measurement = Callable[[str], float]
"""Takes what makes this round's prompts unlike all others, as no cache may know them."""

_QUIET = 0.03
"""Share of the processor time of all cores that other programs may take."""
_MAX_ATTEMPTS = 4
"""Times the rounds that were asked for, when the machine is not quiet."""


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of each side."""

    bare: float
    served: float
    others: float
    """Share of the processor time that other programs took meanwhile."""


def interleaved(bare: Measurement, served: Measurement, rounds: int, what: str) -> list[Round]:
    """Measure both: A B, B A, A B, …, after a round that does not count.

    A round in which other programs were busy is measured again. Where there is no rest, the
    quietest rounds are kept: chosen by what others did, never by what was measured.
    """
    measured: list[Round] = []
    for i in range(_MAX_ATTEMPTS * rounds + 1):
        this = _round(bare, served, f"{what}, round {i}", served_first=i % 2 == 0)
        if i:
            measured.append(this)
            print(
                f"  {what}: bare {this.bare:.4g}, served {this.served:.4g}, "
                f"others {this.others:.0%}",
                file=sys.stderr,
            )
        if sum(done.others <= _QUIET for done in measured) == rounds:
            break
    return sorted(measured, key=lambda done: done.others)[:rounds]


def _round(bare: Measurement, served: Measurement, seed: str, *, served_first: bool) -> Round:
    before = _Processor.now()
    if served_first:
        served_value, bare_value = served(seed), bare(seed)
    else:
        bare_value, served_value = bare(seed), served(seed)
    return Round(bare_value, served_value, _Processor.now().others_since(before))


@dataclass(frozen=True, slots=True)
class _Processor:
    """Processor time since the machine started, in seconds over all cores."""

    all: float
    busy: float
    ours: float
    """This process and all that it started."""

    @classmethod
    def now(cls) -> _Processor:
        times = psutil.cpu_times()
        everything = sum(times)
        idle = times.idle + getattr(times, "iowait", 0.0)
        this = psutil.Process()
        family = [process.cpu_times() for process in (this, *this.children(recursive=True))]
        return cls(everything, everything - idle, sum(t.user + t.system for t in family))

    def others_since(self, before: _Processor) -> float:
        """Give the share of the time since `before` that others took."""
        others = (self.busy - before.busy) - (self.ours - before.ours)
        return max(others / (self.all - before.all), 0.0)
