"""What is learned and what is held out."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from npu_jupyter.finetune.datasets.rendering import Renderer
from npu_jupyter.finetune.datasets.rows import BadRow, Message, Row, read_rows, write_rows
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.trainer.batches import StepSampler
from npu_jupyter.finetune.trainer.examples import Examples, max_length, read_examples, split

_ROWS = 24


@pytest.fixture(scope="module")
def examples(tiny: Path, rows: Path) -> Examples:
    return read_examples(rows, AutoTokenizer.from_pretrained(tiny), Recipe(), 512)


def test_examples_are_the_renderers_own(tiny: Path, rows: Path, examples: Examples) -> None:
    renderer = Renderer(AutoTokenizer.from_pretrained(tiny), 512, assistant_only_loss=True)
    assert len(examples) == _ROWS
    for index, row in enumerate(read_rows(rows)):
        example, kept = renderer.render(row), examples[index]
        assert kept.ids.tolist() == example.input_ids
        assert np.where(kept.learned, kept.ids, -100).tolist() == example.labels
        assert kept.learned.sum() == example.learned_tokens


def test_a_row_with_nothing_to_learn_is_named(tiny: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows", [Row(7, (Message("user", "Is anybody there?"),))])
    with pytest.raises(BadRow, match="Line 7"):
        read_examples(tmp_path / "rows", AutoTokenizer.from_pretrained(tiny), Recipe(), 512)


def test_the_same_text_is_never_in_both_parts(examples: Examples) -> None:
    seen_apart = 0
    for seed in range(20):
        learned, held_out = split(examples, Recipe(eval_split=0.3, seed=seed))
        assert sorted(learned + held_out) == list(range(_ROWS))
        assert 0 < len(held_out) <= round(0.3 * _ROWS)
        texts = [{examples[i].ids.tobytes() for i in part} for part in (learned, held_out)]
        assert not texts[0] & texts[1]
        seen_apart += 0 in held_out
    assert seen_apart  # the text that is there twice is held out at times


def test_the_split_depends_on_seed_and_text_alone(
    examples: Examples, tiny: Path, rows: Path
) -> None:
    turned = rows.with_name("turned.jsonl")
    write_rows(turned, reversed(list(read_rows(rows))))
    other = read_examples(turned, AutoTokenizer.from_pretrained(tiny), Recipe(), 512)
    recipe = Recipe(eval_split=0.3)

    def texts(all_: Examples) -> set[bytes]:
        return {all_[index].ids.tobytes() for index in split(all_, recipe)[1]}

    assert texts(examples) == texts(other)
    assert split(examples, recipe) != split(examples, Recipe(eval_split=0.3, seed=1))
    assert split(examples, Recipe(eval_split=0)) == (list(range(_ROWS)), [])


def test_one_row_is_learned_and_not_held_out(tiny: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows", [Row(1, prompt="How deep is it?", completion="Six fathoms.")])
    one = read_examples(tmp_path / "rows", AutoTokenizer.from_pretrained(tiny), Recipe(), 512)
    assert split(one, Recipe(eval_split=0.9)) == ([0], [])


def test_each_epoch_deals_every_example_out_once_in_an_order_of_its_own() -> None:
    chosen = list(range(10, 21))
    sampler = StepSampler(chosen, 4, seed=3)
    first, second = sampler.steps(0), sampler.steps(1)
    assert [len(step) for step in first] == [4, 4, 3]
    assert sorted(chain(*first)) == sorted(chain(*second)) == chosen
    assert first != second
    assert first == StepSampler(chosen, 4, seed=3).steps(0)
    assert first != StepSampler(chosen, 4, seed=4).steps(0)


def test_the_model_limits_the_length() -> None:
    assert max_length(Recipe(), 8192) == 2048
    assert max_length(Recipe(), 512) == 512
    assert max_length(Recipe(max_length=4096), 8192) == 4096
    assert max_length(Recipe(max_length=4096), None) == 4096
