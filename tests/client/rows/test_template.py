"""Templates: fields, braces, and what cannot be filled."""

from __future__ import annotations

import pytest

from npu_jupyter.client.rows.template import Template
from npu_jupyter.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("Summarise: {text}", "Summarise: a {b} c"),
        ('{{"answer": "{text}"}}', '{"answer": "a {b} c"}'),
        ("{price:.2f} for {text!r}", "3.50 for 'a {b} c'"),
        ("{size.mb} MB: {text}", "7 MB: a {b} c"),
    ],
)
def test_fields_are_filled_and_braces_kept(text: str, filled: str) -> None:
    row = {"text": "a {b} c", "price": 3.5, "size.mb": 7}
    assert Template(text, row).fill(row) == filled


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Summarise: {txt}", "There is no column 'txt'"),
        ("Summarise: {text.upper}", "There is no column 'text.upper'"),
        ("Summarise", "It names no column"),
        ("{text} {", "cannot be read"),
        ("{text} }", "cannot be read"),
        ("{} {text}", "There is no column ''"),
    ],
)
def test_what_cannot_be_filled_says_why(text: str, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault) as raised:
        Template(text, ["text", "price"])
    assert raised.value.param == "template"
    assert "{{ and }}" in raised.value.message
