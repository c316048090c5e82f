"""``POST /v1/completions``: text that goes on from a prompt, without a chat template."""

from __future__ import annotations

from typing import Any

from npu_jupyter.access import allowed
from npu_jupyter.engine.messages import TokenLogprob
from npu_jupyter.v1.generation import GenerationHandler
from npu_jupyter.v1.schema import CompletionBody
from npu_jupyter.v1.wire import Wire


class CompletionWire(Wire):
    """Says it as plain text; chunks and whole answers have the same form."""

    id_prefix = "cmpl"
    whole_object = chunk_object = "text_completion"
    around_text = (b'"text":', b"")
    without_text = b'"text":""'

    def content(self, text: str) -> dict[str, Any]:
        """Give the text."""
        return {"text": text}

    def logprobs(self, tokens: list[TokenLogprob], offset: int) -> dict[str, Any]:
        """Give the older form, in columns."""
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.token)
        return {
            "tokens": [token.token for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{token.token: token.logprob} for token in tokens],
            "text_offset": offsets,
        }


class CompletionHandler(GenerationHandler):
    """Answers prompts."""

    route = "/v1/completions"

    @allowed("execute", "npu:chat")
    async def post(self) -> None:
        """Go on from each prompt."""
        body = CompletionBody.parse(self.json_body())
        wants_logprobs = body.logprobs is not None
        await self.generate(body, body.request(), CompletionWire, logprobs=wants_logprobs)
