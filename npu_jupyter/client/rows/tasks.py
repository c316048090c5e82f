"""What is asked about each row, and how the answer is read."""

from __future__ import annotations

import base64
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from npu_jupyter.client import calls
from npu_jupyter.client.calls import Call
from npu_jupyter.client.records import Model
from npu_jupyter.client.rows.schema import OutputSchema
from npu_jupyter.errors import EngineFailed, InvalidRequest

if TYPE_CHECKING:
    import numpy as np

_KEY_BYTES = 20
_ROOM_FOR_THE_END = 2
"""Tokens: the one that ends an answer, and one to spare."""
_EMBEDDED_AT_ONCE = 64


class Task(ABC):
    """A question that is put about every row."""

    name: ClassVar[str]
    at_once: ClassVar[int] = 1
    """Rows in one request."""
    fallback: Task | None = None
    """What to ask where the answer was not what was asked for."""

    def __init__(self, model: Model) -> None:
        """Put it to `model`."""
        self.model = model

    @abstractmethod
    def call(self, texts: list[str]) -> Call[dict[str, Any]]:
        """Ask about some rows."""

    @abstractmethod
    def raw(self, answer: dict[str, Any]) -> list[bytes]:
        """Take from an answer what is worth keeping, a value for each row."""

    @abstractmethod
    def value(self, raw: bytes) -> Any:
        """Read what `raw` gave.

        Raises:
            NpuError: it is not what was asked for.
        """

    def key(self, text: str) -> bytes:
        """Name the question: the same for the same model, text and settings alone."""
        call = self.call([text])
        asked = msgspec.json.encode([self.model.fingerprint, call.path, call.json])
        return blake2b(asked, digest_size=_KEY_BYTES).digest()


class _Chat(Task):
    """A question whose answer is text."""

    def __init__(self, model: Model, **settings: Any) -> None:
        super().__init__(model)
        self._settings = {key: value for key, value in settings.items() if value is not None}

    def call(self, texts: list[str]) -> Call[dict[str, Any]]:
        messages = [*self._before(), {"role": "user", "content": texts[0]}]
        return calls.chat({"model": self.model.id, "messages": messages, **self._settings})

    def _before(self) -> list[dict[str, str]]:
        """Give what is said before the row's own text."""
        return []

    def raw(self, answer: dict[str, Any]) -> list[bytes]:
        choice = answer["choices"][0]
        return [msgspec.json.encode([choice["message"]["content"], choice["finish_reason"]])]

    def _text(self, raw: bytes) -> tuple[str, bool]:
        """Give the text, and whether it was cut off."""
        text, finish_reason = msgspec.json.decode(raw)
        return text, finish_reason == "length"


class Ask(_Chat):
    """A prompt of the user's own."""

    name = "ask"

    def __init__(self, model: Model, system: str | None, **settings: Any) -> None:
        """Ask with `settings` of the chat API."""
        super().__init__(model, **settings)
        self._system = system

    def _before(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self._system}] if self._system else []

    def value(self, raw: bytes) -> str:
        """Give the answer."""
        return self._text(raw)[0].strip()


class Classify(_Chat):
    """Which of some labels fits: no other answer gets through.

    With examples the model writes labels as they do, and what is none of them is asked again
    under a grammar. Without, the grammar is there from the start. It puts a label in quotes, which
    small models know less: SmolLM2-135M with six examples was right on 65 % of our
    feedback without them, on 31 % with them.
    """

    name = "classify"

    def __init__(
        self,
        model: Model,
        labels: Sequence[str] | Mapping[str, str],
        prompt: str | None,
        examples: Mapping[str, str],
        *,
        free: bool = True,
    ) -> None:
        """Choose among `labels`, which a mapping describes; `examples` are texts with theirs.

        Raises:
            InvalidRequest: fewer than two labels, one twice, or an example with another.
        """
        self.labels = list(labels)
        _check_labels(self.labels, examples)
        spelled = _in_ascii(self.labels)
        self._by_answer = {_plain(label): label for label in self.labels} | spelled
        # No token is shorter than a byte, so this never cuts a label off.
        longest = max(len(msgspec.json.encode(label)) for label in (*self.labels, *spelled))
        settings: dict[str, Any] = {"temperature": 0, "max_tokens": longest + _ROOM_FOR_THE_END}
        if free and examples:
            self.fallback = Classify(model, labels, prompt, examples, free=False)
        else:
            schema = {"type": "string", "enum": list(spelled)}
            settings["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "label", "schema": schema},
            }
        super().__init__(model, **settings)
        self._prompt = prompt or _describe(labels)
        self._examples = examples

    def _before(self) -> list[dict[str, str]]:
        said = [{"role": "system", "content": self._prompt}]
        for text, label in self._examples.items():
            said += [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
        return said

    def value(self, raw: bytes) -> str:
        """Give the label.

        Raises:
            EngineFailed: the answer is none of them.
        """
        text, _ = self._text(raw)
        label = self._by_answer.get(_plain(text))
        if label is None:
            raise EngineFailed(f"The answer {text!r} is none of the labels.")
        return label


def _in_ascii(labels: list[str]) -> dict[str, str]:
    """Spell labels as the grammar compiler takes them: it confuses the ß of Größe with another."""
    spelled: dict[str, str] = {}
    for number, label in enumerate(labels, start=1):
        letters = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().strip()
        taken = letters in spelled or (letters != label and letters in labels)
        spelled[f"label {number}" if taken or not letters else letters] = label
    return spelled


def _plain(answer: str) -> str:
    """Read a label as it stands, or as JSON."""
    answer = answer.strip()
    if answer.startswith('"'):
        with suppress(msgspec.DecodeError):
            answer = str(msgspec.json.decode(answer)).strip()
    return answer


def _check_labels(labels: list[str], examples: Mapping[str, str]) -> None:
    fewest = 2
    if len(set(labels)) != len(labels) or len(labels) < fewest:
        raise InvalidRequest(
            f"classify needs at least {fewest} different labels; these are {labels}.",
            param="labels",
        )
    unknown = sorted(set(examples.values()) - set(labels))
    if unknown:
        raise InvalidRequest(
            f"An example has the label {unknown[0]!r}, which is none of {labels}.", param="examples"
        )


def _describe(labels: Sequence[str] | Mapping[str, str]) -> str:
    if isinstance(labels, Mapping):
        listed = "\n".join(f"- {label}: {meaning}" for label, meaning in labels.items())
        return f"Classify the text. Answer with one of these labels:\n{listed}"
    return f"Classify the text. Answer with one of these labels: {', '.join(labels)}."


class Extract(_Chat):
    """Facts from a text, as JSON of a schema."""

    name = "extract"

    def __init__(
        self, model: Model, schema: OutputSchema, prompt: str | None, max_tokens: int
    ) -> None:
        """Ask for `schema`."""
        self._schema = schema
        self._max_tokens = max_tokens
        super().__init__(
            model,
            temperature=0,
            max_tokens=max_tokens,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": schema.name, "schema": schema.definition},
            },
        )
        fields = ", ".join(schema.columns)
        self._prompt = prompt or f"Extract from the text, as JSON: {fields}."

    def _before(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self._prompt}]

    def value(self, raw: bytes) -> dict[str, Any]:
        """Give the fields.

        Raises:
            NpuError: the answer was cut off, or the model class refuses it.
        """
        text, cut = self._text(raw)
        if cut:
            raise EngineFailed(f"cut off at {self._max_tokens} tokens. Raise max_tokens.")
        return self._schema.read(text)


class Embed(Task):
    """A text's meaning as a vector."""

    name = "embed"
    at_once = _EMBEDDED_AT_ONCE

    def call(self, texts: list[str]) -> Call[dict[str, Any]]:
        """Embed texts in one request."""
        return calls.embeddings(self.model.id, texts)

    def raw(self, answer: dict[str, Any]) -> list[bytes]:
        """Give each vector's bytes."""
        return [base64.b64decode(item["embedding"]) for item in answer["data"]]

    def value(self, raw: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Give the vector."""
        import numpy as np

        return np.frombuffer(raw, dtype="<f4")
