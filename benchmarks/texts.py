"""Prompts and sentences: made up, the same for both sides, and never the same twice in a run."""

from __future__ import annotations

import random

Chat = list[dict[str, str]]

_WORDS = """
    river mountain teacher window paper garden winter engine letter market bridge silver yellow
    quiet heavy simple early careful empty narrow write carry follow answer measure gather
    remember build open travel change under behind between around before during without station
    island doctor village number picture table forest music morning summer evening question story
    animal machine cotton copper marble walnut pepper lantern harbour compass notebook student
    library science result sample method theory degree signal memory process
""".split()  # noqa: SIM905 - a literal would be a column of a hundred lines
_CHAT_WORDS = (8, 40)
_MEDIAN_SENTENCE_WORDS = 14
_SENTENCE_SIGMA = 0.8
_LONGEST_SENTENCE_WORDS = 200
_MEDIAN_QUESTION_WORDS = 45
_MEDIAN_ANSWER_WORDS = 30
_LONGEST_PART_WORDS = 150


def chats(count: int, seed: str) -> list[Chat]:
    """Make `count` prompts of different lengths."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    return [
        [{"role": "user", "content": f"Tell a long story about: {_words(rng, *_CHAT_WORDS)}."}]
        for _ in range(count)
    ]


def _words(rng: random.Random, fewest: int, most: int) -> str:
    return ", ".join(rng.choices(_WORDS, k=rng.randint(fewest, most)))


def sentences(count: int, seed: str) -> list[str]:
    """Make `count` texts as notes and abstracts come: most short, a few of a page."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    return [_text(rng, _MEDIAN_SENTENCE_WORDS, _LONGEST_SENTENCE_WORDS) for _ in range(count)]


def answered(count: int, seed: str) -> list[tuple[str, str]]:
    """Make `count` questions with their answers, most short and a few long."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    return [
        (
            _text(rng, _MEDIAN_QUESTION_WORDS, _LONGEST_PART_WORDS),
            _text(rng, _MEDIAN_ANSWER_WORDS, _LONGEST_PART_WORDS),
        )
        for _ in range(count)
    ]


def _text(rng: random.Random, median_words: int, longest_words: int) -> str:
    length = min(max(int(median_words * rng.lognormvariate(0, _SENTENCE_SIGMA)), 2), longest_words)
    return " ".join(rng.choices(_WORDS, k=length)).capitalize() + "."
