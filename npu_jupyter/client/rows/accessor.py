"""``series.npu`` and ``frame.npu``: a model over the rows of a column or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from npu_jupyter.client.connecting import current
from npu_jupyter.client.records import Model
from npu_jupyter.client.rows import frames
from npu_jupyter.client.rows.preview import Preview
from npu_jupyter.client.rows.run import Results, Run
from npu_jupyter.client.rows.schema import OutputSchema
from npu_jupyter.client.rows.similar import nearest
from npu_jupyter.client.rows.tasks import Ask, Classify, Embed, Extract, Task
from npu_jupyter.client.rows.template import Template
from npu_jupyter.errors import InvalidRequest

if TYPE_CHECKING:
    from pydantic import BaseModel

Labels = Sequence[str] | Mapping[str, str]
"""Labels, or labels with what each means."""

_MAX_TOKENS = 256
_NAME = "text"
"""What the field for a series' values may always be called."""


class _Rows:
    """Texts by row, and what can be asked about them."""

    def __init__(self, texts: list[str | None], index: pd.Index[Any], source: str) -> None:
        """Take texts, None where a row has none."""
        self._texts = texts
        self._index = index
        self._source = source

    def ask(
        self, system: str | None, model: str | None, *, cache: bool, **settings: Any
    ) -> pd.Series[Any]:
        task = Ask(_model(model, "llm"), system, **settings)
        return self._series(task, "string", cache=cache)

    def classify(
        self,
        labels: Labels,
        model: str | None,
        prompt: str | None,
        examples: Mapping[str, str] | None,
        *,
        cache: bool,
    ) -> pd.Series[Any]:
        task = Classify(_model(model, "llm"), labels, prompt, examples or {})
        return self._series(task, pd.CategoricalDtype(task.labels), cache=cache)

    def extract(
        self,
        schema: type[BaseModel] | dict[str, Any],
        model: str | None,
        prompt: str | None,
        max_tokens: int,
        *,
        cache: bool,
    ) -> pd.DataFrame:
        output = OutputSchema(schema)
        task = Extract(_model(model, "llm"), output, prompt, max_tokens)
        return frames.columns(self._results(task, cache=cache), self._index, output)

    def embed(self, model: str | None, *, cache: bool) -> pd.Series[Any]:
        return self._series(Embed(_model(model, "embedding")), "object", cache=cache)

    def similar(self, query: str, k: int, model: str | None, *, cache: bool) -> pd.Series[Any]:
        """Give the similarity of the `k` nearest rows by position, the nearest first."""
        task = Embed(_model(model, "embedding"))
        asked = Run(current(), task, [query], cache=cache).results()
        if asked.reasons:
            raise InvalidRequest(f"The query cannot be embedded: {asked.reasons[0]}")
        vectors = self._results(task, cache=cache).answers
        return nearest(asked.answers[0], vectors, k)

    def _results(self, task: Task, *, cache: bool) -> Results:
        results = Run(current(), task, self._texts, cache=cache).results()
        frames.remember(task.name, self._source, self._index, results.reasons)
        return results

    def _series(self, task: Task, dtype: Any, *, cache: bool) -> pd.Series[Any]:
        return frames.series(self._results(task, cache=cache), self._index, task.name, dtype)


class SeriesAccessor:
    """A model over a column: ``df["text"].npu``."""

    def __init__(self, column: pd.Series[Any]) -> None:
        """Stand beside `column`; nothing is asked yet."""
        self._column = column
        self._name = _NAME if column.name is None else str(column.name)

    def ask(
        self,
        template: str,
        *,
        model: str | None = None,
        system: str | None = None,
        temperature: float = 0.0,
        max_tokens: int = _MAX_TOKENS,
        seed: int | None = None,
        cache: bool = True,
    ) -> pd.Series[Any]:
        """Answer a prompt for each row: ``ask("Summarise: {text}")``.

        The field is called as the column, or `text`. A row without a text gets NA, as does one
        with an error, which `errors` of the result explains.

        Raises:
            NpuError: no row can be answered.
        """
        rows = self._filled(template)
        return rows.ask(
            system,
            model,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            cache=cache,
        )

    def classify(
        self,
        labels: Labels,
        *,
        model: str | None = None,
        prompt: str | None = None,
        examples: Mapping[str, str] | None = None,
        cache: bool = True,
    ) -> pd.Series[Any]:
        """Give each row one of `labels`; the model can write nothing else.

        `labels` may map each to what it means. `examples` are texts with their labels, which help
        a small model most. `prompt` takes the place of our own instruction.

        Raises:
            NpuError: no row can be answered.
        """
        return self._plain().classify(labels, model, prompt, examples, cache=cache)

    def extract(
        self,
        schema: type[BaseModel] | dict[str, Any],
        *,
        model: str | None = None,
        prompt: str | None = None,
        max_tokens: int = _MAX_TOKENS,
        cache: bool = True,
    ) -> pd.DataFrame:
        """Read facts out of each row into typed columns, those of a pydantic model or JSON schema.

        Raises:
            NpuError: no row can be answered, or the schema cannot be used.
        """
        return self._plain().extract(schema, model, prompt, max_tokens, cache=cache)

    def embed(self, *, model: str | None = None, cache: bool = True) -> pd.Series[Any]:
        """Give each row's meaning as a vector of length 1, a float32 array.

        ``numpy.stack(column.npu.embed())`` is the matrix of all.

        Raises:
            NpuError: no row can be embedded.
        """
        return self._plain().embed(model, cache=cache)

    def similar(
        self, query: str, k: int = 5, *, model: str | None = None, cache: bool = True
    ) -> pd.DataFrame:
        """Find the `k` rows nearest in meaning to `query`, the nearest first.

        Raises:
            NpuError: the query or no row can be embedded.
        """
        found = self._plain().similar(query, k, model, cache=cache)
        return pd.DataFrame(
            {self._name: self._column.iloc[found.index], "similarity": found.to_numpy()}
        )

    @property
    def errors(self) -> pd.DataFrame:
        """Why rows have no value, in the result of one of these methods."""
        return frames.errors_of(self._column)

    def _plain(self) -> _Rows:
        return _Rows(_texts(self._column), self._column.index, self._name)

    def _filled(self, template: str) -> _Rows:
        parsed = Template(template, dict.fromkeys((self._name, _NAME)))
        texts = [
            None if missing else parsed.fill({self._name: value, _NAME: value})
            for value, missing in zip(self._column, self._column.isna(), strict=True)
        ]
        return _Rows(texts, self._column.index, self._name)


class FrameAccessor:
    """A model over several columns: ``df.npu``. A template says how a row becomes a text."""

    def __init__(self, frame: pd.DataFrame) -> None:
        """Stand beside `frame`; nothing is asked yet."""
        self._frame = frame

    def ask(
        self,
        template: str,
        *,
        model: str | None = None,
        system: str | None = None,
        temperature: float = 0.0,
        max_tokens: int = _MAX_TOKENS,
        seed: int | None = None,
        cache: bool = True,
    ) -> pd.Series[Any]:
        """Answer a prompt for each row: ``ask("Reply to {name}, who wrote: {text}")``.

        Raises:
            NpuError: no row can be answered.
        """
        return self._filled(template).ask(
            system,
            model,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            cache=cache,
        )

    def classify(
        self,
        labels: Labels,
        template: str,
        *,
        model: str | None = None,
        prompt: str | None = None,
        examples: Mapping[str, str] | None = None,
        cache: bool = True,
    ) -> pd.Series[Any]:
        """Give each row one of `labels`; the model can write nothing else.

        Raises:
            NpuError: no row can be answered.
        """
        return self._filled(template).classify(labels, model, prompt, examples, cache=cache)

    def extract(
        self,
        schema: type[BaseModel] | dict[str, Any],
        template: str,
        *,
        model: str | None = None,
        prompt: str | None = None,
        max_tokens: int = _MAX_TOKENS,
        cache: bool = True,
    ) -> pd.DataFrame:
        """Read facts out of each row into typed columns.

        Raises:
            NpuError: no row can be answered, or the schema cannot be used.
        """
        return self._filled(template).extract(schema, model, prompt, max_tokens, cache=cache)

    def embed(
        self, template: str, *, model: str | None = None, cache: bool = True
    ) -> pd.Series[Any]:
        """Give each row's meaning as a vector of length 1, a float32 array.

        Raises:
            NpuError: no row can be embedded.
        """
        return self._filled(template).embed(model, cache=cache)

    def similar(
        self,
        query: str,
        template: str,
        k: int = 5,
        *,
        model: str | None = None,
        cache: bool = True,
    ) -> pd.DataFrame:
        """Find the `k` rows nearest in meaning to `query`, with a column `similarity`.

        Raises:
            NpuError: the query or no row can be embedded.
        """
        found = self._filled(template).similar(query, k, model, cache=cache)
        return self._frame.iloc[found.index].assign(similarity=found.to_numpy())

    @property
    def errors(self) -> pd.DataFrame:
        """Why rows have no value, after the last runs over columns of this frame."""
        if frames.ATTRIBUTE in self._frame.attrs:
            return frames.errors_of(self._frame)
        return frames.errors_in(self._frame)

    def head(self, n: int = 5) -> Preview:
        """Show the first rows, with the reason where a value is missing, and counts of labels."""
        return Preview(self._frame, n)

    def _filled(self, template: str) -> _Rows:
        frame = self._frame
        parsed = Template(template, map(str, frame.columns))
        fields = frame[[name for name in frame.columns if str(name) in parsed.fields]]
        names = list(map(str, fields.columns))
        texts = [
            None if missing else parsed.fill(dict(zip(names, row, strict=True)))
            for row, missing in zip(
                fields.itertuples(index=False, name=None), fields.isna().any(axis=1), strict=True
            )
        ]
        return _Rows(texts, frame.index, names[0])


def _texts(column: pd.Series[Any]) -> list[str | None]:
    return [
        None if missing else str(value)
        for value, missing in zip(column, column.isna(), strict=True)
    ]


def _model(name: str | None, kind: str) -> Model:
    client = current()
    return client.model(name) if name is not None else client.default_model(kind)
