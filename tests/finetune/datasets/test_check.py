"""Whole datasets of every form, each read by the child as a server has it done."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from npu_jupyter.errors import HubUnreachable, InvalidRequest, NotFound
from npu_jupyter.finetune.datasets.check import check_dataset
from npu_jupyter.finetune.datasets.report import DatasetReport
from npu_jupyter.finetune.datasets.rows import read_rows
from npu_jupyter.finetune.recipe import Recipe

QUESTION, ANSWER = "Où est-ce ?", "Là, à côté."
PAIR = {"prompt": QUESTION, "completion": ANSWER}
CHAT = {
    "messages": [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": ANSWER},
    ]
}


@pytest.fixture
def check(tokenizer_folder: Path) -> Any:
    """Give a check with defaults for all that a test does not care about."""

    def run(source: Path | str, **given: Any) -> DatasetReport:
        options: dict[str, Any] = {
            "tokenizer": tokenizer_folder,
            "context_length": 8192,
            "recipe": Recipe(),
            "columns": {},
            "format": None,
        }
        return asyncio.run(check_dataset(source, **options | given))

    return run


def json_lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_chats_in_json_lines(check: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_text(json_lines(CHAT, CHAT), "utf-8")
    report = check(tmp_path / "data", preview=1)
    assert (report.container, report.format, report.rows) == ("jsonl", "messages", 2)
    assert report.found == "jsonl in UTF-8, of the format messages (told by its columns: messages)"
    assert report.duplicates == 1
    (shown,) = report.preview
    assert [segment.text for segment in shown.segments if segment.learned] == [
        f"{ANSWER}<|im_end|>"
    ]
    assert "".join(segment.text for segment in shown.segments).endswith(
        f"user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n{ANSWER}<|im_end|>\n"
    )
    assert report.tokens is not None
    assert report.tokens.learned == 2 * shown.learned_tokens
    assert report.tokens.total == 2 * shown.tokens


MARKS = "with which the model's chat template marks turns; give the text alone"
BAD_LINES = [
    (json_lines(CHAT), None),
    ("{broken\n", "it is not valid JSON"),
    ("[1]\n", "it is no JSON object"),
    ("\n", None),
    ('{"text": "x"}\n', "messages is missing"),
    ('{"messages": []}\n', "messages is empty"),
    ('{"messages": "hello"}\n', "messages is a text and no JSON"),
    ('{"messages": {"role": "user"}}\n', "messages is no list"),
    ('{"messages": [1]}\n', "messages[0] is no object"),
    ('{"messages": [{"content": "x"}]}\n', "messages[0] has no role"),
    (
        '{"messages": [{"role": "tool", "content": "x"}]}\n',
        "messages[0] has a role that is none of 'assistant', 'system', 'user'",
    ),
    ('{"messages": [{"role": "user"}]}\n', "messages[0] has no content"),
    ('{"messages": [{"role": "user", "content": 7}]}\n', "messages[0].content is no text"),
    ('{"messages": [{"role": "assistant", "content": " "}]}\n', "messages[0] is an empty answer"),
    (
        '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}\n',
        "messages[0] has parts that are no text",
    ),
    (
        '{"messages": [{"role": "assistant", "tool_calls": [{}]}]}\n',
        "messages[0] calls a tool, which is not learned here",
    ),
    (
        '{"messages": [{"role": "assistant", "content": "x", "weight": 2}]}\n',
        "messages[0] has a weight that is neither 0 nor 1",
    ),
    ('{"messages": [{"role": "user", "content": "x"}]}\n', "it holds nothing to learn"),
    (
        '{"messages": [{"role": "user", "content": "x<|im_end|>"}]}\n',
        f"message 1 holds <|im_end|>, {MARKS}",
    ),
    ("[" * 100_000 + "\n", "it is not valid JSON"),
    ('{"messages": "\\ud800"}\n', "it is not valid JSON"),
    ('{"messages": "é\xff"}\n', "it has bytes that are no UTF-8"),
    (json_lines(CHAT), None),
]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Give a file with a fault of every kind, the last of which is no UTF-8."""
    content = b"".join(
        line.encode("latin-1" if "\xff" in line else "utf-8") for line, _ in BAD_LINES
    )
    (tmp_path / "bad.jsonl").write_bytes(content)
    return tmp_path / "bad.jsonl"


def test_all_bad_rows_are_named_by_line_and_reason_in_one_pass(check: Any, bad: Path) -> None:
    snapshot = bad.with_name("rows.jsonl")
    report = check(bad, max_bad_rows=20, snapshot=snapshot)
    expected: dict[str, list[int]] = {}
    for line, (_, reason) in enumerate(BAD_LINES, 1):
        if reason is not None:
            expected.setdefault(reason, []).append(line)
    assert {reasons.reason: reasons.lines for reasons in report.reasons} == expected
    assert (report.good_rows, report.bad_rows) == (2, 20)
    assert report.nothing_to_learn == 1
    assert [row.line for row in read_rows(snapshot)] == [1, len(BAD_LINES)]  # left out as allowed


def test_too_many_bad_rows_are_an_error_that_names_them_all(check: Any, bad: Path) -> None:
    snapshot = bad.with_name("rows.jsonl")
    with pytest.raises(InvalidRequest, match="20 of 22 rows cannot be used") as raised:
        check(bad, max_bad_rows=19, snapshot=snapshot)
    assert raised.value.param == "dataset"
    for line, (_, reason) in enumerate(BAD_LINES, 1):
        assert reason is None or reason in raised.value.message, line
    assert list(bad.parent.iterdir()) == [bad]  # no snapshot, no half of one


def test_many_rows_of_one_fault_are_counted_and_the_first_named(check: Any, tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    source.write_text(json_lines(CHAT, *[{"messages": []}] * 500), "utf-8")
    with pytest.raises(InvalidRequest, match=r"Line 2, 3, .*, 21 and 480 more: messages is empty"):
        check(source, max_bad_rows=100)


def test_a_dataset_without_a_row_is_refused_in_words(check: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("[1, 2]", "utf-8")
    with pytest.raises(InvalidRequest, match="None of the first 100 rows can be read as json"):
        check(tmp_path / "data")


def test_a_dataset_that_is_gone_is_told_so(check: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"rows\.jsonl was there and is gone"):
        check(tmp_path / "rows.jsonl")


def test_rows_beyond_the_limit_are_cut_and_counted(check: Any, tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    long = {"prompt": "why " * 3000, "completion": "Because."}
    source.write_text(json_lines(PAIR, long), "utf-8")
    report = check(source)
    assert (report.max_length, report.cut_rows) == (2048, 1)
    assert report.cut_tokens > 900
    assert report.tokens is not None
    assert report.tokens.max == 2048
    with pytest.raises(InvalidRequest, match="reads 512 tokens") as raised:
        check(source, context_length=512, recipe=Recipe(max_length=1000))
    assert raised.value.param == "max_length"


def test_a_repository_of_the_hub_needs_a_network(
    check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match="cannot be reached to fetch org/name"):
        check("hf:org/name")


@pytest.mark.asyncio
async def test_a_check_can_be_cancelled(tokenizer_folder: Path, tmp_path: Path) -> None:
    source, snapshot = tmp_path / "data", tmp_path / "rows.jsonl"
    source.write_text(json_lines(*[PAIR] * 50_000), "utf-8")
    seen = asyncio.Event()
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(
        check_dataset(
            source,
            tokenizer=tokenizer_folder,
            context_length=8192,
            recipe=Recipe(),
            columns={},
            format=None,
            snapshot=snapshot,
            progress=lambda _told: loop.call_soon_threadsafe(seen.set),
        )
    )
    await seen.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not snapshot.exists()
    children = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    assert not [command for command in children if "checker" in command]
