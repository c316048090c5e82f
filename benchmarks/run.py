"""``make bench``: every benchmark, or those that are named, and one table of their figures."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import figures
import models

_BENCHMARKS = (
    "throughput",
    "first_token",
    "embeddings",
    "dataframe",
    "event_loop",
    "startup",
    "memory",
    "training",
    "neighbours",
)
_RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run benchmarks; return 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "benchmarks", nargs="*", metavar="NAME", help=f"of {', '.join(_BENCHMARKS)}; default: all"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each; default: its own number")
    arguments = parser.parse_args()
    names = arguments.benchmarks or _BENCHMARKS
    unknown = set(names) - set(_BENCHMARKS)
    if unknown:
        parser.error(
            f"there is no {', '.join(sorted(unknown))}; there are {', '.join(_BENCHMARKS)}"
        )
    measured = models.prepare()
    found: list[figures.Figure] = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        benchmark = importlib.import_module(name)
        found += benchmark.run(measured, arguments.rounds or benchmark.ROUNDS)
    path = figures.save(found, _RESULTS)
    print(figures.table(found))
    print(f"\nAll samples are in {path}")
    return 0 if all(figure.passed for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
