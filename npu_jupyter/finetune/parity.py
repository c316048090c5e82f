"""Is what the engine serves what was trained? Asked before a job may say that it is completed.

The engine's own worker answers held-out prompts with the adapter, once greedily and once by
chance, and the trained model says what it would have said at each of these tokens. Where the two
are one model, it would have chosen the same tokens, and given those that chance chose the same
probabilities.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from npu_jupyter.engine.messages import Delta, Generate, Load, Sampling
from npu_jupyter.engine.runner import Runner
from npu_jupyter.errors import NpuError

_WORKER = "npu_jupyter.engine.worker"
_NEW_TOKENS = 32
_SEED = 7
_TIMEOUT_S = 600.0
_MIN_AGREEMENT = 0.9
_MAX_KL = 0.1
_ALLOWANCE = 3.0
"""How many times the divergence of the base itself, whose weights may be compressed, an adapter's
may be."""

Scorer = Callable[[list[int], list[int]], tuple[list[int], list[float]]]
"""From prompt and answer, both token ids, what a model would choose at each of the answer's
tokens, and the log probability that it gives the one that is there."""


class ParityFailed(NpuError):
    """What would be served is not what was trained."""

    code = "parity_failed"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two models agree."""

    tokens: int
    """Tokens that were compared, in each of the two ways."""
    agreement: float
    """Part of the greedily chosen tokens that the trained model would have chosen too."""
    kl: float
    """Kullback-Leibler divergence of the trained model from the served one, in nats a token."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What the check found."""

    adapter: Agreement
    base: Agreement
    """The same without the adapter: how far the served base is from the one that was trained."""
    passed: bool
    limits: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Give it as the job keeps it."""
        return asdict(self)


def check_parity(
    openvino: Path,
    adapter: Path,
    prompts: Sequence[list[int]],
    *,
    trained: Scorer,
    untrained: Scorer,
    log_path: Path,
) -> Parity:
    """Compare the file `adapter`, applied by the engine to the IR `openvino`, with `trained`.

    `prompts` are token ids, with all that comes before an answer.

    Raises:
        ParityFailed: when they are not the same model, with the numbers.
        NpuError: when the engine cannot serve it at all.
    """
    served = asyncio.run(_serve(openvino, [str(adapter), ""], prompts, log_path))
    of_adapter = _compare(prompts, served[0], trained)
    of_base = _compare(prompts, served[1], untrained)
    limits = {
        "min_agreement": min(_MIN_AGREEMENT, 1 - _ALLOWANCE * (1 - of_base.agreement)),
        "max_kl": max(_MAX_KL, _ALLOWANCE * of_base.kl),
    }
    passed = of_adapter.agreement >= limits["min_agreement"] and of_adapter.kl <= limits["max_kl"]
    return Parity(of_adapter, of_base, passed, limits)


def require_parity(parity: Parity) -> None:
    """Raise `ParityFailed` when the check did not pass."""
    if not parity.passed:
        found, limits = parity.adapter, parity.limits
        raise ParityFailed(
            f"What the engine serves is not what was trained: it agrees on {found.agreement:.0%} "
            f"of {found.tokens} tokens where {limits['min_agreement']:.0%} are needed, and "
            f"diverges by {found.kl:.3f} nats a token where {limits['max_kl']:.3f} are allowed. "
            "Nothing was published. The trained adapter is kept with the job; export it merged "
            "with POST /api/finetune/export."
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the engine said to one prompt."""

    ids: list[int]
    logprobs: list[float]


@dataclass(frozen=True, slots=True)
class _Served:
    greedy: list[_Answer]
    sampled: list[_Answer]


async def _serve(
    openvino: Path, adapters: Sequence[str], prompts: Sequence[list[int]], log_path: Path
) -> list[_Served]:
    """Have the engine's worker answer `prompts` with each of `adapters`."""
    load = Load(
        name="the trained model",
        type="llm",
        path=str(openvino),
        device="CPU",
        adapters=True,
        prefix_caching=False,
    )
    runner = Runner(load, module=_WORKER, log_path=log_path, log=logging.getLogger(__name__))
    try:
        await runner.start()
        return [
            _Served(
                greedy=await _answers(runner, adapter, prompts, temperature=0.0),
                sampled=await _answers(runner, adapter, prompts, temperature=1.0),
            )
            for adapter in adapters
        ]
    finally:
        await runner.stop()


async def _answers(
    runner: Runner, adapter: str, prompts: Sequence[list[int]], *, temperature: float
) -> list[_Answer]:
    sampling = Sampling(max_tokens=_NEW_TOKENS, temperature=temperature, seed=_SEED, logprobs=True)
    request = Generate(id=0, sampling=sampling, prompts=list(prompts), adapter=adapter)
    answers = [_Answer([], []) for _ in prompts]
    async with aclosing(runner.run(request, _TIMEOUT_S)) as steps:
        async for outputs in steps:
            for output in outputs:
                if isinstance(output, Delta):
                    answers[output.index].ids.extend(token.id for token in output.logprobs)
                    answers[output.index].logprobs.extend(
                        token.logprob for token in output.logprobs
                    )
    return answers


def _compare(prompts: Sequence[list[int]], served: _Served, scorer: Scorer) -> Agreement:
    same: list[bool] = []
    for prompt, answer in zip(prompts, served.greedy, strict=True):
        chosen, _ = scorer(prompt, answer.ids)
        same += [ours == theirs for ours, theirs in zip(answer.ids, chosen, strict=True)]
    divergences: list[float] = []
    for prompt, answer in zip(prompts, served.sampled, strict=True):
        _, logprobs = scorer(prompt, answer.ids)
        divergences += [
            _divergence(trained - ours)
            for ours, trained in zip(answer.logprobs, logprobs, strict=True)
        ]
    if not same or not divergences:
        raise ParityFailed("The engine answered none of the held-out prompts with any token.")
    return Agreement(
        tokens=len(same),
        agreement=sum(same) / len(same),
        kl=sum(divergences) / len(divergences),
    )


def _divergence(log_ratio: float) -> float:
    """Estimate KL(served || trained) from one token that the served model drew.

    r - 1 - log r has the expectation of -log r, is never negative and varies less: John
    Schulman, "Approximating KL Divergence", 2020.
    """
    return math.expm1(min(log_ratio, 20.0)) - log_ratio
