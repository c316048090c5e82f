"""The API as the pages have it is the API as openapi.yaml and the errors have it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import yaml

from npu_jupyter import errors
from npu_jupyter.keys import SCOPES

ROOT = Path(__file__).parents[2]
_README = (ROOT / "README.md").read_text("utf-8")
_API = (ROOT / "docs" / "api.md").read_text("utf-8")
_CALL = re.compile(r"`(GET|POST|PUT|DELETE) ((?:/v1|/api|/health)[^`\s]*)`")


def operations() -> set[tuple[str, str]]:
    """Give every method and path of openapi.yaml."""
    paths = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text("utf-8"))["paths"]
    return {
        (method.upper(), path)
        for path, item in paths.items()
        for method in item
        if method in {"get", "post", "put", "delete"}
    }


def test_calls_that_the_pages_name_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        named = set(_CALL.findall(page.read_text("utf-8")))
        assert named <= operations(), page.name


def test_the_api_page_names_every_call_and_the_readme_none_that_is_not_there() -> None:
    assert set(_CALL.findall(_API)) == operations()
    assert set(_CALL.findall(_README)) < operations()


def test_every_error_is_told_of_with_its_status() -> None:
    table = _API[_API.index("## Errors") :]
    told = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d{3}) \| ([^|]+) \|", table, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", codes)
    }
    raised = {
        (kind.status, kind.code)
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.NpuError) and kind.code
    }
    assert raised <= told


def test_every_scope_is_told_of() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", _API, re.MULTILINE)) >= set(SCOPES)
