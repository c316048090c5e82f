"""One request at a time, for the NPU: the same messages as continuous batching."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import openvino_genai as genai

from npu_jupyter.engine.messages import Delta, Failed, Finished, Generate, Load, Output, Started
from npu_jupyter.engine.worker.adapters import adapter_config, placeholder
from npu_jupyter.engine.worker.grammar import not_compiled
from npu_jupyter.engine.worker.sampling import generation_config, room
from npu_jupyter.engine.worker.text import TextStream, advance_all
from npu_jupyter.engine.worker.tokenizer import ModelTokenizer, tensor
from npu_jupyter.errors import EngineFailed, NpuError, UnsupportedParameter


class SingleRequest:
    """A pipeline that generates one sequence after the other.

    `poll` is called at every token: it takes in messages, and with them a cancel.
    """

    def __init__(
        self,
        load: Load,
        context_length: int,
        send: Callable[[list[Output]], None],
        poll: Callable[[], None],
    ) -> None:
        """Read and compile the model."""
        self._context_length = context_length
        self._takes_adapters = load.adapters
        self._send = send
        self._poll = poll
        self._queue: deque[tuple[Generate, list[list[int]], list[int]]] = deque()
        self._cancelled: set[int] = set()
        self._current: int | None = None
        self._pipeline = genai.LLMPipeline(load.path, load.device, **_properties(load))
        self._base_config = self._pipeline.get_generation_config()
        max_prompt = min(load.max_prompt_length or context_length, context_length - 1)
        self.tokenizer = ModelTokenizer(self._pipeline.get_tokenizer(), max_prompt)
        self.max_running = 1

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._queue)

    def warm_up(self) -> None:
        """Generate one token."""
        config = genai.GenerationConfig()
        config.max_new_tokens = 1
        self._pipeline.generate(tensor(self.tokenizer.encode("Hello")), config)

    def add(self, request: Generate) -> None:
        """Check a request and take it.

        Raises:
            NpuError: when the request cannot be run.
        """
        if request.sampling.logprobs:
            message = "This device gives no log probabilities. Leave logprobs out."
            raise UnsupportedParameter(message, param="logprobs")
        prompts = self.tokenizer.prompts(request)
        wanted = request.sampling.max_tokens
        rooms = [room(len(prompt), self._context_length, wanted) for prompt in prompts]
        generation_config(self._base_config, request.sampling, max_new_tokens=1, choice=0)
        self._queue.append((request, prompts, rooms))

    def cancel(self, request: int) -> None:
        """Forget a request: the running one ends at its next token."""
        if request == self._current:
            self._cancelled.add(request)
        self._queue = deque(entry for entry in self._queue if entry[0].id != request)

    def step(self) -> None:
        """Run one request to its end."""
        request, prompts, rooms = self._queue.popleft()
        self._current = request.id
        try:
            self._run(request, prompts, rooms)
        except NpuError as error:
            self._send([Failed(request.id, type(error).__name__, error.message, error.param)])
        except RuntimeError as error:
            traceback.print_exception(error)
            reason = str(error).strip().splitlines()[-1]
            failed: NpuError = EngineFailed(f"The engine refused this request: {reason}")
            if request.sampling.json_schema is not None:
                failed = not_compiled()
            name = type(failed).__name__
            self._send([Failed(request.id, name, failed.message, failed.param)])
        finally:
            self._current = None
            self._cancelled.discard(request.id)

    def _run(self, request: Generate, prompts: list[list[int]], rooms: list[int]) -> None:
        self._send([Started(request.id, sum(len(prompt) for prompt in prompts))])
        for i, prompt in enumerate(prompts):
            for k in range(request.n):
                index = i * request.n + k
                if request.echo:
                    text = self.tokenizer.decode([prompt])[0]
                    self._send([Delta(request.id, index, text=text)])
                self._generate(request, index, prompt, rooms[i])
                if request.id in self._cancelled:
                    return
        self._send([Finished(request.id)])

    def _generate(self, request: Generate, index: int, prompt: list[int], limit: int) -> None:
        choice = index % request.n
        config = generation_config(
            self._base_config, request.sampling, max_new_tokens=limit, choice=choice
        )
        if self._takes_adapters:
            config.adapters = adapter_config(request.adapter)
        streamer = _Streamer(self, request, index)
        self._pipeline.generate(tensor(prompt), config, streamer)
        if request.id not in self._cancelled:
            streamer.finish("length" if streamer.count >= limit else "stop")

    def deliver(self, delta: Delta) -> bool:
        """Send what a token brought, look for messages; False when the request was cancelled."""
        self._send([delta])
        self._poll()
        return delta.id not in self._cancelled


def _properties(load: Load) -> dict[str, Any]:
    if not load.adapters:
        return load.properties
    properties = {**load.properties, "adapters": placeholder(load.path)}
    if not load.device.startswith("NPU"):
        # The other backend keeps prefixes, and takes those of one adapter for another's.
        properties["ATTENTION_BACKEND"] = "SDPA"
    return properties


class _Streamer(genai.StreamerBase):  # type: ignore[misc]  # openvino_genai has no types
    """Takes tokens from the pipeline's own loop."""

    def __init__(self, owner: SingleRequest, request: Generate, index: int) -> None:
        super().__init__()
        self._owner = owner
        self._request = request
        self._index = index
        self._text = TextStream(request.sampling.stop)
        self.count = 0

    def write(self, token: int | list[int]) -> genai.StreamingStatus:
        """Take what one step of the pipeline made; an exception here would be swallowed."""
        ids = cast("list[int]", token if isinstance(token, list) else [token])
        self.count += len(ids)
        self._text.add(ids)
        delta = self._delta(len(ids), last=False)
        if not self._owner.deliver(delta):
            return genai.StreamingStatus.CANCEL
        return genai.StreamingStatus.STOP if self._text.stopped else genai.StreamingStatus.RUNNING

    def end(self) -> None:
        """Nothing to do: the reason is known when `generate` returns."""

    def finish(self, reason: str) -> None:
        """Send the last delta of this choice."""
        delta = self._delta(0, last=True, finish="stop" if self._text.stopped else reason)
        self._owner.deliver(delta)

    def _delta(self, tokens: int, *, last: bool, finish: str | None = None) -> Delta:
        text = advance_all([(self._text, last)], self._owner.tokenizer.decode)[0]
        return Delta(self._request.id, self._index, text=text, tokens=tokens, finish_reason=finish)
