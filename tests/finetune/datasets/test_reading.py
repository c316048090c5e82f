"""Datasets of every form, told by their content and brought to the normal form."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from npu_jupyter.errors import InvalidRequest
from npu_jupyter.finetune.datasets.layout import KNOWN_COLUMNS, Format, find_layout
from npu_jupyter.finetune.datasets.opening import open_dataset
from npu_jupyter.finetune.datasets.records import Reader
from npu_jupyter.finetune.datasets.rows import BadRow, Message, Row

QUESTION, ANSWER = "Où est-ce ?", "Là, à côté."
PAIR = {"prompt": QUESTION, "completion": ANSWER}
AS_CHAT = (Message("user", QUESTION), Message("assistant", ANSWER))


class Read(NamedTuple):
    reader: Reader
    format: Format
    rows: list[Row]
    bad: list[tuple[int, str]]


def read(source: Path, columns: Mapping[str, str] | None = None, form: str | None = None) -> Read:
    """Read a whole dataset as a check does, but for the rendering."""
    reader = open_dataset(source, KNOWN_COLUMNS | {*(columns or {}).values()})
    records = list(reader.records())
    bad = [(item.line, item.reason) for item in records if isinstance(item, BadRow)]
    good = [item for item in records if not isinstance(item, BadRow)]
    layout = find_layout([record for _, record in good], columns or {}, form)
    rows = []
    for record in good:
        try:
            rows.append(layout.row(*record))
        except BadRow as error:
            bad.append((error.line, error.reason))
    return Read(reader, layout.format, rows, sorted(bad))


def json_lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("rows", "form", "expected"),
    [
        ([PAIR], "prompt", Row(1, prompt=QUESTION, completion=ANSWER)),
        (
            [{"instruction": "Find it.", "input": QUESTION, "output": ANSWER}],
            "alpaca",
            Row(1, prompt=f"Find it.\n\n{QUESTION}", completion=ANSWER),
        ),
        (
            [{"instruction": QUESTION, "input": "", "output": ANSWER}],
            "alpaca",
            Row(1, prompt=QUESTION, completion=ANSWER),
        ),
        (
            [
                {
                    "system": "Be brief.",
                    "conversations": [
                        {"from": "human", "value": QUESTION},
                        {"from": "gpt", "value": ANSWER},
                    ],
                }
            ],
            "sharegpt",
            Row(1, (Message("system", "Be brief."), *AS_CHAT)),
        ),
        ([{"text": ANSWER}], "text", Row(1, text=ANSWER)),
        (
            [
                {
                    "messages": [
                        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
                        {"role": "user", "content": QUESTION},
                        {"role": "assistant", "content": "No.", "weight": 0},
                        {"role": "user", "content": QUESTION, "name": "ada"},
                        {"role": "assistant", "content": ANSWER, "weight": 1},
                    ]
                }
            ],
            "messages",
            Row(
                1,
                (
                    Message("system", "Be brief."),
                    AS_CHAT[0],
                    Message("assistant", "No.", weight=0),
                    *AS_CHAT,
                ),
            ),
        ),
    ],
    ids=["prompt", "alpaca", "alpaca without input", "sharegpt", "text", "messages"],
)
def test_each_format_comes_to_its_normal_form(
    tmp_path: Path, rows: list[Any], form: str, expected: Row
) -> None:
    source = tmp_path / "data.jsonl"
    source.write_text(json_lines(*rows), "utf-8")
    assert read(source)[1:] == (form, [expected], [])


def _csv(path: Path) -> None:
    path.write_text(f'prompt,completion\n"{QUESTION}","{ANSWER}"\n', "utf-8")


def _tsv(path: Path) -> None:
    path.write_text(f"completion\tprompt\tsource\n{ANSWER}\t{QUESTION}\tx\n", "utf-8")


def _semicolons(path: Path) -> None:
    path.write_text(f"prompt;completion\n{QUESTION};{ANSWER}\n", "utf-8")


def _json(path: Path) -> None:
    path.write_text(json.dumps([PAIR], indent=2), "utf-8")


def _json_data(path: Path) -> None:
    path.write_text(json.dumps({"data": [PAIR]}), "utf-8")


def _parquet(path: Path, rows: Sequence[Any] = (PAIR,)) -> None:
    parquet.write_table(pa.Table.from_pylist(list(rows)), path)


def _arrow(path: Path, rows: Sequence[Any] = (PAIR,)) -> None:
    datasets.Dataset.from_list(list(rows)).save_to_disk(path)


def _arrow_splits(path: Path) -> None:
    data = datasets.Dataset.from_list([PAIR])
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(path)


@pytest.mark.parametrize(
    ("write", "container", "line"),
    [
        (_csv, "csv", 2),
        (_tsv, "tsv", 2),
        (_semicolons, "csv", 2),
        (_json, "json", 1),
        (_json_data, "json", 1),
        (_parquet, "parquet", 1),
        (_arrow, "arrow", 1),
        (_arrow_splits, "arrow", 1),
    ],
)
def test_each_container_is_told_by_its_content(
    tmp_path: Path, write: Any, container: str, line: int
) -> None:
    source = tmp_path / "data"  # no suffix helps
    write(source)
    told = read(source)
    assert (told.reader.container, told.format) == (container, "prompt")
    assert told.rows == [Row(line, prompt=QUESTION, completion=ANSWER)]


@pytest.mark.parametrize("saved", [_parquet, _arrow])
def test_chats_of_unlike_messages_come_out_of_tables(tmp_path: Path, saved: Any) -> None:
    answer = {"role": "assistant", "content": ANSWER, "weight": 0}
    chat = {"messages": [{"role": "user", "content": QUESTION, "weight": None}, answer]}
    saved(tmp_path / "data", [chat] * 3000)
    told = read(tmp_path / "data")
    assert told.format == "messages"
    assert [row.line for row in told.rows] == list(range(1, 3001))
    assert told.rows[2999].messages == (AS_CHAT[0], Message("assistant", ANSWER, weight=0))


def test_each_paragraph_of_a_plain_text_is_a_row(tmp_path: Path) -> None:
    source = tmp_path / "book"
    source.write_bytes("\nOne, two,\r\nthree.\r\n\r\n \r\nFour é.".encode())
    told = read(source)
    assert told.reader.container == "txt"
    assert told.rows == [Row(2, text="One, two,\nthree."), Row(6, text="Four é.")]


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with a byte order mark"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16-LE"),
        ("utf-16-be", "UTF-16-BE"),
        ("latin-1", "Windows-1252"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_encoding_is_found_and_told(tmp_path: Path, encoding: str, told: str, end: str) -> None:
    source = tmp_path / "data"
    text = json_lines(PAIR) + "\n\n" + json_lines(PAIR)
    source.write_bytes(text.replace("\n", end).encode(encoding))
    got = read(source)
    assert got.reader.encoding == told
    assert got.rows == [Row(line, prompt=QUESTION, completion=ANSWER) for line in (1, 4)]


def test_bad_rows_of_a_table_are_named_by_the_line_that_they_begin_on(tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text('prompt,completion\n"a\nb",c\nd\n,e\nf,\ng,"h"i\n', "utf-8")
    told = read(source)
    assert [row.line for row in told.rows] == [2, 5]
    assert [(line, reason.partition(":")[0]) for line, reason in told.bad] == [
        (4, "it has 1 fields, and the header 2"),
        (6, "completion is empty"),
        (7, "its quotes are wrong"),
    ]


@pytest.mark.parametrize(
    ("row", "given", "named"),
    [
        ({"question": "a", "answer": "b"}, {}, ["'question', 'answer'", '{"prompt": "question"']),
        (
            {"instruction": "a", "output": "b", "text": "ab"},
            {},
            ["alpaca (instruction and output) or text (text)", "by format"],
        ),
        ({"text": "a"}, {"columns": {"text": "body"}}, ["no column 'body'", "'text'"]),
        ({"text": "a"}, {"columns": {"body": "text"}}, ["columns maps 'body'"]),
        ({"text": "a"}, {"format": "chatml"}, ["'chatml'", "messages, sharegpt, prompt"]),
        ({"text": "a"}, {"format": "alpaca"}, ["needs the columns instruction, output"]),
    ],
    ids=["unknown", "two formats", "no such column", "no such part", "no such format", "misfit"],
)
def test_what_is_not_clear_is_asked_and_not_guessed(
    tmp_path: Path, row: dict[str, str], given: dict[str, Any], named: Sequence[str]
) -> None:
    source = tmp_path / "data.jsonl"
    source.write_text(json_lines(row), "utf-8")
    with pytest.raises(InvalidRequest) as raised:
        read(source, given.get("columns"), given.get("format"))
    for words in named:
        assert words in raised.value.message
    assert raised.value.param in {"columns", "format"}


def test_columns_can_be_mapped(tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text("text,Question,Answer\nx,a,b\n", "utf-8")
    columns = {"prompt": "Question", "completion": "Answer"}
    assert read(source, columns).rows == [Row(2, prompt="a", completion="b")]
    assert read(source, {"text": "Answer"}).rows == [Row(2, text="b")]


def test_a_format_can_be_chosen_where_two_fit(tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    source.write_text(json_lines({"instruction": "a", "output": "b", "text": "a b"}), "utf-8")
    assert read(source, form="text").rows == [Row(1, text="a b")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "data is empty"),
        (b"\n \r\n", "nothing but empty lines"),
        (b"\x1f\x8b\x08abc", r"compressed \(gzip\)"),
        (b"PK\x03\x04abc", r"compressed \(zip\)"),
        (b"\x7fELF\0\0\1\2\3\0\0", "neither text nor Parquet"),
        (b"PAR1 but no more", "damaged Parquet"),
        (b"[1, 2", "neither JSON nor JSON Lines"),
        (b'{"a":\n1}', "neither an array of rows"),
    ],
)
def test_what_is_no_dataset_is_refused_in_words(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "data").write_bytes(content)
    with pytest.raises(InvalidRequest, match=said):
        read(tmp_path / "data")


@pytest.mark.parametrize(
    ("damaged", "encoding"),
    [(b"caf\xe9", "UTF-8"), ("où".encode() + b"\xc3", "UTF-8"), (b"\x81", "Windows-1252")],
)
def test_bytes_that_cannot_be_read_make_a_bad_row(
    tmp_path: Path, damaged: bytes, encoding: str
) -> None:
    good = "où" if encoding == "UTF-8" else "plain"
    source = tmp_path / "data.csv"
    source.write_bytes(f"prompt,completion\n{good},b\n".encode() + damaged + b",b\nc,d\n")
    told = read(source)
    assert [row.line for row in told.rows] == [2, 4]
    assert told.bad == [(3, f"it has bytes that are no {encoding}")]


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("prompt,completion,prompt\na,b,c\n", "utf-8")
    with pytest.raises(InvalidRequest, match="names 'prompt' more than once"):
        read(tmp_path / "data.csv")


@pytest.mark.slow
def test_a_million_rows_are_not_held_in_memory(tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for number in range(1_000_000):
            file.write(f'{{"prompt": "What is {number}?", "completion": "A number, {number}."}}\n')
    process = psutil.Process()
    records = open_dataset(source, KNOWN_COLUMNS).records()
    layout = find_layout([{"prompt": "", "completion": ""}], {}, None)
    before = process.memory_info().rss
    last = deque((layout.row(*item) for item in records if not isinstance(item, BadRow)), maxlen=1)
    assert last.pop() == Row(1_000_000, prompt="What is 999999?", completion="A number, 999999.")
    assert process.memory_info().rss - before < source.stat().st_size // 4
