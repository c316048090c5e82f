"""A model over a DataFrame, with a real model behind a real server."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes.waiting import wait_until
from pydantic import BaseModel
from serving import EMBEDDER, LLM, ROOT, Server

import npu_jupyter as npu
from npu_jupyter.client import Client
from npu_jupyter.errors import (
    InvalidRequest,
    InvalidSchema,
    ModelNotFound,
    PermissionDenied,
)

LABELS = ["bug", "praise", "question"]
TEXTS = [
    "The app crashes when I save.",
    "Thank you, this is wonderful.",
    "How do I change my password?",
    "The app crashes when I save.",
]


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@pytest.fixture
def feedback() -> pd.DataFrame:
    """Four rows, two of them with the same text, under labels of their own."""
    return pd.DataFrame({"ticket": [11, 12, 13, 14], "text": TEXTS}, index=list("wxyz"))


def generated(client: Client) -> int:
    """Count the tokens that the chat model has made."""
    return next((m.tokens_generated for m in client.status() if m.name == LLM), 0)


def test_only_the_labels_come_out(client: Client, feedback: pd.DataFrame) -> None:
    found = feedback["text"].npu.classify(LABELS)
    assert list(found.index) == list("wxyz")
    assert list(found.cat.categories) == LABELS
    assert found.notna().all()
    assert found["w"] == found["z"]
    assert found.npu.errors.empty


def test_labels_that_a_model_would_not_write(client: Client, feedback: pd.DataFrame) -> None:
    odd = ['say "hi"', "Größe 42 µm", "x" * 20, "问题", "回答"]
    examples = {"One.": odd[0], "Two.": odd[1]}
    assert set(feedback["text"].npu.classify(odd)) <= set(odd)
    assert set(feedback["text"].npu.classify(odd, examples=examples)) <= set(odd)


def test_examples_teach(client: Client) -> None:
    examples = {
        "I am so happy, thank you!": "praise",
        "How do I print a page?": "question",
        "Great job, I love it.": "praise",
        "What does the blue icon mean?": "question",
        "The best support I have ever had.": "praise",
        "Can I change the font?": "question",
    }
    texts = pd.Series(["Where can I find my messages?", "Great update, I love the colours."])
    found = texts.npu.classify({"praise": "thanks", "question": "asks"}, examples=examples)
    assert list(found) == ["question", "praise"]


def test_an_answer_is_asked_for_once(client: Client, feedback: pd.DataFrame) -> None:
    first = feedback["text"].npu.ask("Say it shorter: {text}", max_tokens=8)
    made = generated(client)
    again = feedback["text"].npu.ask("Say it shorter: {text}", max_tokens=8)
    pd.testing.assert_series_equal(first, again)
    assert generated(client) == made
    feedback["text"].npu.ask("Say it shorter: {text}", max_tokens=8, cache=False)
    assert generated(client) > made
    assert first["w"] == first["z"]


def test_another_setting_is_another_question(client: Client, feedback: pd.DataFrame) -> None:
    one = feedback.npu.ask("Number {ticket}: {text}", max_tokens=4)
    two = feedback.npu.ask("Number {ticket}: {text}", max_tokens=8)
    assert (one.str.len() < two.str.len()).any()


def test_rows_without_a_text_stay_without(client: Client) -> None:
    found = pd.Series(["How?", None, float("nan"), pd.NA], name="q").npu.classify(LABELS)
    assert list(found.isna()) == [False, True, True, True]
    assert found.npu.errors.empty
    assert pd.Series([], dtype="object").npu.classify(LABELS).empty
    assert pd.Series([None]).npu.ask("{text}").isna().all()


def test_an_error_is_its_row_s_alone(client: Client, feedback: pd.DataFrame) -> None:
    feedback.loc["x", "text"] = "log " * 9000
    feedback["label"] = feedback["text"].npu.classify(LABELS)
    assert list(feedback["label"].isna()) == [False, True, False, False]
    errors = feedback.npu.errors
    assert list(errors.index) == ["x"]
    assert (errors.loc["x", "column"], errors.loc["x", "operation"]) == ("text", "classify")
    assert "8192 tokens" in errors.loc["x", "reason"]
    shown = feedback.npu.head(2)
    assert "✗" in shown._repr_html_()
    assert "8192 tokens" in shown._repr_html_()
    assert "2 of 4 rows" in repr(shown)
    assert "NA 1" in repr(shown)
    feedback.loc["x", "text"] = "Mended."
    feedback["label"] = feedback["text"].npu.classify(LABELS)
    assert feedback["label"].notna().all()
    assert feedback.npu.errors.empty


def test_what_no_row_escapes_ends_the_run(client: Client, feedback: pd.DataFrame) -> None:
    with pytest.raises(ModelNotFound):
        feedback["text"].npu.ask("{text}", model="none")
    with pytest.raises(InvalidRequest, match="temperature"):
        feedback["text"].npu.ask("{text}", temperature=9)
    with pytest.raises(InvalidRequest, match="embedding model"):
        feedback["text"].npu.ask("{text}", model=EMBEDDER)
    schema = {"type": "object", "properties": {"n": {"type": "number", "multipleOf": 3}}}
    with pytest.raises(InvalidSchema):
        feedback["text"].npu.extract(schema)
    with pytest.raises(InvalidRequest, match="different labels"):
        feedback["text"].npu.classify(["bug", "bug"])


def test_a_key_that_may_not_chat(server: Server, feedback: pd.DataFrame) -> None:
    with npu.connect(server.url, server.key("load")), pytest.raises(PermissionDenied):
        feedback["text"].npu.classify(LABELS)


def test_facts_become_typed_columns(client: Client) -> None:
    texts = pd.Series(["Ada is 36 years old.", None, "Bob is 12."], index=[5, 6, 7])
    found = texts.npu.extract(Person)
    assert list(found.index) == [5, 6, 7]
    assert found.dtypes.astype(str).to_dict() == {"name": "string", "age": "Int64"}
    assert (found.loc[5, "name"], found.loc[5, "age"]) == ("Ada", 36)
    assert found.loc[6].isna().all()
    cut = texts.npu.extract(Person, max_tokens=3)
    assert "cut off at 3 tokens" in cut.npu.errors.loc[5, "reason"]


def test_meaning(client: Client, feedback: pd.DataFrame) -> None:
    vectors = feedback["text"].npu.embed()
    matrix = np.stack(vectors)
    assert matrix.dtype == np.float32
    assert matrix.shape == (4, 384)
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-3)
    assert np.array_equal(vectors["w"], vectors["z"])
    near = feedback["text"].npu.similar("I forgot my login secret", k=2)
    assert near.index[0] == "y"
    assert list(near.columns) == ["text", "similarity"]
    assert near["similarity"].is_monotonic_decreasing
    rows = feedback.npu.similar("I forgot my login secret", "{ticket} {text}", k=1)
    assert rows["ticket"].to_list() == [13]


def test_a_text_too_long_for_the_embedder_is_one_row_s_error(client: Client) -> None:
    texts = pd.Series(["short", "word " * 600, "also short"])
    found = texts.npu.embed()
    assert list(found.isna()) == [False, True, False]
    assert list(found.npu.errors.index) == [1]
    assert len(texts.npu.similar("brief", k=5)) == 2


def test_rows_leave_room_for_others(client: Client) -> None:
    texts = pd.Series([f"Tell a story about the number {n}." for n in range(80)])
    most = 0
    done = threading.Event()

    def look() -> None:
        nonlocal most
        with Client(client.url) as watching:
            while not done.is_set():
                for model in watching.status():
                    if model.name == LLM:
                        most = max(most, model.requests_running + model.requests_waiting)
                time.sleep(0.05)

    client.load(LLM)
    watcher = threading.Thread(target=look)
    watcher.start()
    texts.npu.ask("{text}", max_tokens=6)
    done.set()
    watcher.join()
    places = next(model.max_running for model in client.status() if model.name == LLM)
    assert 1 < most <= places // 2


_SCRIPT = """
import pandas as pd
import npu_jupyter as npu

npu.connect({url!r})
rows = pd.Series([f"Tell a long story about the number {{n}}." for n in range(200)])
print("begin", flush=True)
answers = rows.npu.ask("{{text}}", max_tokens=150)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there Ctrl-C goes to a whole console")
def test_an_interrupt_stops_the_server_and_keeps_what_is_done(
    client: Client, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT.format(url=client.url)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    path = tmp_path / "cache" / "answers.sqlite3"

    def answers() -> int:
        if not path.exists():
            return 0
        with closing(sqlite3.connect(path)) as cache, suppress(sqlite3.OperationalError):
            return int(cache.execute("SELECT count(*) FROM answers").fetchone()[0])
        return 0

    wait_until(lambda: answers() > 1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert "rows are kept; run the cell again to go on with the other" in told
    wait_until(lambda: not any(model.requests_running for model in client.status()))
    assert 1 < answers() < 200
