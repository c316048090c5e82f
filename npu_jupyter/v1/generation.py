"""What chat and plain completions have in common: run a request, stream it or collect it."""

from __future__ import annotations

from contextlib import aclosing

import msgspec

from npu_jupyter import metrics
from npu_jupyter.engine.messages import Delta
from npu_jupyter.engine.stream import GenerateRequest, LoadingModel, Running, Text, Waiting
from npu_jupyter.handler import NpuHandler
from npu_jupyter.v1.schema import GenerationBody
from npu_jupyter.v1.sse import EventStream
from npu_jupyter.v1.wire import Choice, Usage, Wire


class GenerationHandler(NpuHandler):
    """Runs a checked request in the engine and answers in an endpoint's wire."""

    async def generate(
        self, body: GenerationBody, request: GenerateRequest, kind: type[Wire], *, logprobs: bool
    ) -> None:
        """Answer `request`, streamed or whole; cancel it when the client leaves."""
        wire = kind(
            body.model, request.choices, logprobs=logprobs, include_usage=body.include_usage
        )
        answer = self._stream if body.stream else self._collect
        usage = Usage()
        try:
            await self.while_connected(answer(body, request, wire, usage))
        finally:
            metrics.count_tokens(usage.prompt_tokens, usage.completion_tokens)

    async def _stream(
        self, body: GenerationBody, request: GenerateRequest, wire: Wire, usage: Usage
    ) -> None:
        events = self.engine.generate(body.model, request, self.caller)
        async with aclosing(events), EventStream(self) as stream:
            async for event in events:
                if isinstance(event, Text):
                    _count(usage, event.deltas)
                    if frames := wire.events(event.deltas):
                        counts = wire.usage_event(usage) if body.continuous_usage else b""
                        await stream.send(frames + counts)
                elif isinstance(event, Running):
                    self._started(event, usage)
                    stream.note(f"running on {event.device}")
                    await stream.send(wire.opening())
                else:
                    stream.note(describe(event))
            if body.include_usage:
                await stream.send(wire.usage_event(usage))

    async def _collect(
        self, body: GenerationBody, request: GenerateRequest, wire: Wire, usage: Usage
    ) -> None:
        choices = [Choice(index) for index in range(request.choices)]
        events = self.engine.generate(body.model, request, self.caller)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Text):
                    _count(usage, event.deltas)
                    for delta in event.deltas:
                        choices[delta.index].take(delta)
                elif isinstance(event, Running):
                    self._started(event, usage)
        self.finish(msgspec.json.encode(wire.whole(choices, usage)))

    def _started(self, event: Running, usage: Usage) -> None:
        usage.prompt_tokens = usage.total_tokens = event.prompt_tokens
        if not self._headers_written:
            self.set_header("x-npu-device", event.device)


def _count(usage: Usage, deltas: list[Delta]) -> None:
    for delta in deltas:
        usage.completion_tokens += delta.tokens
        usage.total_tokens += delta.tokens


def describe(event: Waiting | LoadingModel) -> str:
    """Say in a comment's words what a request waits for."""
    if isinstance(event, Waiting):
        return f"queued {event.position}/{event.of}"
    percent = "" if event.percent is None else f" {event.percent:.0f}%"
    eta = "" if event.eta_s is None else f" about {event.eta_s:.0f} s"
    return f"loading {event.stage}{percent}{eta}"
