"""Continuous batching on CPU and GPU: all requests move one step together."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openvino_genai as genai

from npu_jupyter.engine.messages import (
    Delta,
    Failed,
    Finished,
    Generate,
    Load,
    Output,
    Started,
    TokenLogprob,
)
from npu_jupyter.engine.worker.grammar import not_compiled
from npu_jupyter.engine.worker.sampling import generation_config, room
from npu_jupyter.engine.worker.text import TextStream, advance_all
from npu_jupyter.engine.worker.tokenizer import ModelTokenizer, tensor
from npu_jupyter.errors import EngineFailed, NpuError, WorkerDied

_MAX_REFUSED = 64
_SEND_INTERVAL_S = 0.033
"""Seconds from one message to the next while all that comes is more text.

Nobody reads faster, and the server and its clients share the cores with the model: each message
costs a step of a small model some percent.
"""

_FINISH_REASONS = {
    genai.GenerationFinishReason.STOP: "stop",
    genai.GenerationFinishReason.LENGTH: "length",
}


@dataclass(eq=False)
class Choice:
    """One sequence in the engine."""

    request: int
    index: int
    prompt: list[int]
    config: genai.GenerationConfig
    max_tokens: int
    text: TextStream
    schema: str | None = None
    """The JSON schema that it must match."""
    handle: genai.GenerationHandle | None = None
    generated: list[int] = field(default_factory=list)
    new: int = 0
    """Tokens since the last delta."""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None


class ContinuousBatching:
    """A pipeline that is stepped, and what runs in it."""

    def __init__(
        self, load: Load, context_length: int, send: Callable[[list[Output]], None]
    ) -> None:
        """Read and compile the model; `send` takes what each step gave."""
        self._load = load
        self._context_length = context_length
        self._send = send
        self._choices: dict[int, Choice] = {}
        self._unsent: list[Output] = []
        self._sent_at = 0.0
        self._next_id = 0
        self._refused: deque[str] = deque(maxlen=_MAX_REFUSED)
        """Schemas that passed every check and broke the pipeline."""
        self._build()
        self.tokenizer = ModelTokenizer(self._pipeline.get_tokenizer(), context_length - 1)
        self.max_running = load.max_running

    def _build(self) -> None:
        scheduler = genai.SchedulerConfig()
        scheduler.max_num_batched_tokens = self._load.max_batched_tokens
        scheduler.dynamic_split_fuse = True
        scheduler.cache_size = self._load.kv_cache_gib
        scheduler.enable_prefix_caching = self._load.prefix_caching
        self._pipeline = genai.ContinuousBatchingPipeline(
            self._load.path, scheduler, self._load.device, self._properties()
        )
        self._base_config = self._pipeline.get_config()

    def _properties(self) -> dict[str, Any]:
        return self._load.properties

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._choices) or self._pipeline.has_non_finished_requests()

    def warm_up(self) -> None:
        """Generate one token."""
        config = genai.GenerationConfig()
        config.max_new_tokens = 1
        self._pipeline.generate([tensor(self.tokenizer.encode("Hello"))], [config])

    def add(self, request: Generate) -> None:
        """Take a request; its tokens come with the next steps.

        Raises:
            NpuError: when the request cannot be run.
        """
        if request.sampling.json_schema in self._refused:
            raise not_compiled()
        prompts = self.tokenizer.prompts(request)
        wanted = request.sampling.max_tokens
        rooms = [room(len(prompt), self._context_length, wanted) for prompt in prompts]
        choices = [
            Choice(
                request.id,
                index=i * request.n + k,
                prompt=prompt,
                config=generation_config(
                    self._base_config, request.sampling, max_new_tokens=rooms[i], choice=k
                ),
                max_tokens=rooms[i],
                text=TextStream(request.sampling.stop),
                schema=request.sampling.json_schema,
            )
            for i, prompt in enumerate(prompts)
            for k in range(request.n)
        ]
        outputs: list[Output] = [Started(request.id, sum(len(prompt) for prompt in prompts))]
        if request.echo:
            texts = self.tokenizer.decode([choice.prompt for choice in choices])
            outputs += [
                Delta(request.id, choice.index, text=texts[i]) for i, choice in enumerate(choices)
            ]
        self._send(outputs)
        for choice in choices:
            self._start(choice)

    def _start(self, choice: Choice) -> None:
        """Begin a choice, or go on with one that was interrupted."""
        choice.config.max_new_tokens = choice.max_tokens - len(choice.generated)
        ids = choice.prompt + choice.generated
        choice.handle = self._pipeline.add_request(self._next_id, tensor(ids), choice.config)
        self._choices[self._next_id] = choice
        self._next_id += 1

    def cancel(self, request: int) -> None:
        """Forget a request: the engine lets go of it at its next step."""
        for key in [k for k, choice in self._choices.items() if choice.request == request]:
            choice = self._choices.pop(key)
            assert choice.handle is not None
            choice.handle.cancel()

    def step(self) -> None:
        """Move every request on by one token, or one chunk of its prompt."""
        try:
            self._pipeline.step()
            for choice in self._choices.values():
                self._read(choice)
        except Exception as error:  # noqa: BLE001 - the engine raises whatever it likes
            self._recover(error)
            return
        moved = {
            key: choice
            for key, choice in self._choices.items()
            if choice.new or choice.finish_reason
        }
        if moved:
            first = any(choice.new == len(choice.generated) for choice in moved.values())
            self._unsent += self._deltas(moved)
            last = isinstance(self._unsent[-1], Finished)
            if first or last or time.monotonic() - self._sent_at >= _SEND_INTERVAL_S:
                self._flush()

    def _flush(self) -> None:
        """Send what the last steps gave."""
        self._send(self._unsent)
        self._unsent = []
        self._sent_at = time.monotonic()

    def _read(self, choice: Choice) -> None:
        """Take what the last step made of one choice."""
        handle = choice.handle
        assert handle is not None
        while handle.can_read():  # a read with nothing there blocks for good
            for output in handle.read().values():
                self._take(choice, output)
        status = handle.get_status()
        if choice.finish_reason is None and status == genai.GenerationStatus.IGNORED:
            choice.finish_reason = "length"  # the KV cache is full

    def _take(self, choice: Choice, output: genai.GenerationOutput) -> None:
        ids = list(output.generated_ids)
        choice.generated += ids
        choice.new += len(ids)
        choice.text.add(ids)
        if choice.config.logprobs:
            pairs = zip(ids, output.generated_log_probs, strict=True)
            choice.logprobs += [self.tokenizer.logprob(*pair) for pair in pairs]
        choice.finish_reason = _FINISH_REASONS.get(output.finish_reason)

    def _deltas(self, moved: dict[int, Choice]) -> list[Output]:
        """Give one delta for each choice that moved, and the end of each request that ended."""
        pairs = [(choice.text, choice.finish_reason is not None) for choice in moved.values()]
        texts = advance_all(pairs, self.tokenizer.decode)
        outputs: list[Output] = []
        for (key, choice), text in zip(moved.items(), texts, strict=True):
            if choice.text.stopped and choice.finish_reason is None:
                assert choice.handle is not None
                choice.handle.stop()
            if choice.text.stopped:
                choice.finish_reason = "stop"
            outputs.append(
                Delta(
                    choice.request,
                    choice.index,
                    text=text,
                    tokens=choice.new,
                    logprobs=choice.logprobs,
                    finish_reason=choice.finish_reason,
                )
            )
            choice.new, choice.logprobs = 0, []
            if choice.finish_reason:
                del self._choices[key]
        running = {choice.request for choice in self._choices.values()}
        ended = {choice.request for choice in moved.values()} - running
        return outputs + [Finished(request) for request in ended]

    def _recover(self, error: Exception) -> None:
        """Rebuild a pipeline that a request has broken, and lose only that request.

        It has produced nothing yet; a grammar that does not compile is the likeliest reason.
        """
        traceback.print_exception(error)
        self._rebuild()
        choices = list(self._choices.values())
        fresh = [choice for choice in choices if not choice.generated]
        schemas = {choice.schema for choice in fresh if choice.schema}
        self._refused += [schema for schema in schemas if not self._compiles(schema)]
        lost: dict[int, NpuError] = {
            choice.request: not_compiled() for choice in fresh if choice.schema in self._refused
        }
        if not lost:
            reason = str(error).strip().splitlines()[-1]
            failed = EngineFailed(f"The engine refused this request: {reason}")
            lost = {choice.request: failed for choice in fresh or choices}
        # A grammar cannot go on in the middle of an answer: it would begin anew there.
        cut = WorkerDied("The engine had to begin anew in mid-answer. Send the request again.")
        lost |= {choice.request: cut for choice in choices if choice.generated and choice.schema}
        self._flush()
        self._send([Failed(k, type(e).__name__, e.message, e.param) for k, e in lost.items()])
        self._choices.clear()
        for choice in choices:
            if choice.request not in lost:
                self._start(choice)

    def _rebuild(self) -> None:
        del self._pipeline
        self._build()

    def _compiles(self, schema: str) -> bool:
        """Try a schema alone, in a pipeline where nothing runs."""
        config = genai.GenerationConfig()
        config.max_new_tokens = 1
        config.structured_output_config = genai.StructuredOutputConfig(json_schema=schema)
        try:
            self._pipeline.generate([tensor(self.tokenizer.encode("Hello"))], [config])
        except RuntimeError:
            self._rebuild()
            return False
        return True
