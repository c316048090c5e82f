"""What a model writes is shown as Markdown and never as markup of its own."""

from __future__ import annotations

import pytest

from npu_jupyter.client.markdown import to_html


def test_markdown_is_rendered() -> None:
    html = to_html("# Title\n\n*a* **b**\n\n```python\nx < 1\n```\n\n| a |\n|---|\n| 1 |\n")
    for part in ("<h1>Title</h1>", "<em>a</em>", "x &lt; 1", "<td>1</td>"):
        assert part in html


def test_code_that_is_still_coming_is_code() -> None:
    assert "<pre><code" in to_html("Look:\n\n```html\n<b>")
    assert "<b>" not in to_html("Look:\n\n```html\n<b>")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a <img src=x onerror=alert(1)> b",
        "[x]:\n```\n<img src=x onerror=alert(1)>",
        "1. a\n   ```\n<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "[click](<JaVaScRiPt:alert(1)>)",
        "<javascript:alert(1)>",
        '![x" onerror="alert(1)](http://example.org/p.png)',
        "![read](http://example.org/p.png?what=secret)",
        "| <script>alert(1)</script> |\n|---|\n| <img src=x> |",
    ],
)
def test_markup_is_text_and_nothing_is_loaded(text: str) -> None:
    html = to_html(text).lower()
    for part in ("<script", "<img", 'href="javascript', "src="):
        assert part not in html.replace("&lt;img src=", "")
