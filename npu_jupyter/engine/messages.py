"""What the server and a worker process say to each other: msgpack over ZeroMQ.

A worker sends one `Step` for all requests that moved in that step of its engine, so the
number of messages does not grow with the number of callers.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Address(msgspec.Struct, frozen=True):
    """How a worker reaches its server; goes through the child's standard input only."""

    endpoint: str
    server_key: bytes


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the next token is chosen and when to stop."""

    max_tokens: int | None = None
    """Tokens to generate at most; None is as many as the context has room for."""
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    ignore_eos: bool = False
    json_schema: str | None = None
    """A JSON schema, as JSON text, that the answer must match."""


class Load(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """First message to a worker: what to load, where and how."""

    name: str
    type: str
    path: str
    device: str
    properties: dict[str, Any] = {}
    """OpenVINO properties for the device, passed on as they are."""
    context_length: int | None = None
    """Tokens of prompt and answer together; None reads it from the model."""
    single: bool = False
    """Whether the device takes one request at a time, as the NPU does."""
    max_prompt_length: int | None = None
    """Tokens of the longest prompt, where it is fixed at compile time."""
    max_running: int = 64
    kv_cache_gib: int = 0
    """Memory for the KV cache in GiB; 0 grows as needed."""
    max_batched_tokens: int = 256
    prefix_caching: bool = True
    adapters: bool = False
    """Whether requests name adapters. Their cache knows nothing of prefixes: what one adapter
    computed is wrong for another."""


class Generate(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """Generate `n` completions for each prompt; choice index is ``prompt * n + i``."""

    id: int
    sampling: Sampling
    messages: list[dict[str, Any]] | None = None
    """A chat, rendered by the model's own template. Either this or `prompts`."""
    prompts: list[str | list[int]] | None = None
    """Raw prompts, each text or token ids."""
    n: int = 1
    echo: bool = False
    template_kwargs: dict[str, Any] = {}
    adapter: str = ""
    """Path of the adapter to apply; empty where the worker takes none."""


class Embed(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """Embed texts, or token ids of the model's own tokenizer."""

    id: int
    inputs: list[str | list[int]]


class Cancel(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """Forget a request at the next step."""

    id: int


class Exit(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """End the process."""


class Loading(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """The worker entered a stage of loading."""

    stage: str


class Loaded(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """The worker is ready."""

    device: str
    context_length: int
    embedding_length: int | None = None
    """Numbers in one embedding; None for a language model."""
    max_running: int = 1
    """Requests that the engine runs at once."""


class LoadError(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """The worker could not load the model and is about to end."""

    message: str


class TokenLogprob(msgspec.Struct, frozen=True):
    """One chosen token with its log probability."""

    id: int
    token: str
    bytes: list[int]
    logprob: float


class Started(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """The prompts were accepted; their token counts."""

    id: int
    prompt_tokens: int


class Delta(msgspec.Struct, tag=True, tag_field="kind", frozen=True, omit_defaults=True):
    """Text that one choice gained in a step; empty while it is held back."""

    id: int
    index: int
    text: str = ""
    tokens: int = 0
    logprobs: list[TokenLogprob] = []
    finish_reason: str | None = None
    """``stop`` or ``length`` once, in the choice's last delta."""


class Failed(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """The request ended with an error; `code` names a class of `npu_jupyter.errors`."""

    id: int
    error: str
    message: str
    param: str | None = None


class Finished(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """Every choice of the request is done."""

    id: int


class Embedded(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """All vectors of a request: float32, little-endian, row after row."""

    id: int
    vectors: bytes
    prompt_tokens: int


Output = Started | Delta | Failed | Finished | Embedded


class Step(msgspec.Struct, tag=True, tag_field="kind", frozen=True):
    """All that happened in one step of the engine."""

    outputs: list[Output]


ToWorker = Load | Generate | Embed | Cancel | Exit
FromWorker = Loading | Loaded | LoadError | Step

encode = msgspec.msgpack.Encoder().encode
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
decode_to_worker = _to_worker.decode
decode_from_worker = _from_worker.decode
