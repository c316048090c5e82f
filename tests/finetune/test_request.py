"""What may be asked for is what the API's document says."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
from api.test_openapi import DOCUMENT

from npu_jupyter.errors import InvalidRequest, MissingExtra
from npu_jupyter.finetune.recipe import BOUNDS, Recipe
from npu_jupyter.finetune.request import StartBody, parse_start, require_packages

PROPERTIES: dict[str, Any] = DOCUMENT["components"]["schemas"]["StartRequest"]["properties"]
NEEDED = {"model_id": 1, "dataset": "a.jsonl"}


def test_the_document_names_every_setting_with_its_default() -> None:
    settings = {field.name: field.default for field in msgspec.structs.fields(Recipe)}
    assert PROPERTIES.keys() == settings.keys() | StartBody.model_fields.keys()
    for name, default in settings.items():
        if "default" in PROPERTIES[name]:
            assert PROPERTIES[name]["default"] == default, name


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_hold_for_json_and_forms(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low, high):
        assert parse_start(NEEDED | {name: value}).given == {name: value}
        assert parse_start(NEEDED | {name: str(value)}, as_text=True).given == {name: value}
    for wrong in (low - 1, high * 2 + 1, 10**400, "many", True, [], {}):
        with pytest.raises(InvalidRequest) as refused:
            parse_start(NEEDED | {name: wrong})
        assert refused.value.param == name


def test_a_form_s_values_are_read() -> None:
    form = {"use_lora": "off", "lora_r": "8", "sample_prompts": ["a", "b"], "model_id": "7"}
    request = parse_start(NEEDED | form, as_text=True)
    assert request.model == 7
    assert not request.recipe.use_lora
    assert request.recipe.lora_r == 8
    assert request.recipe.sample_prompts == ("a", "b")


@pytest.mark.parametrize(
    ("package", "recipe", "extra"),
    [
        ("peft", Recipe(), "finetune"),
        ("bitsandbytes", Recipe(quantize_base=True), "qlora"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, package: str, recipe: Recipe, extra: str
) -> None:
    require_packages(recipe)
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to say that there is none
    with pytest.raises(MissingExtra, match=rf'pip install "npu-jupyter\[{extra}\]"'):
        require_packages(recipe)
