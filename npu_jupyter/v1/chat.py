"""``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Any

from npu_jupyter.access import allowed
from npu_jupyter.engine.messages import TokenLogprob
from npu_jupyter.v1.generation import GenerationHandler
from npu_jupyter.v1.schema import ChatBody
from npu_jupyter.v1.wire import Wire


class ChatWire(Wire):
    """Says it as messages of the assistant."""

    id_prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    around_text = (b'"delta":{"content":', b"}")
    without_text = b'"delta":{}'

    def opening(self) -> bytes:
        """Give each choice its role, once: clients concatenate what is repeated."""
        delta = b'"delta":{"role":"assistant","content":""'
        return b"".join(head + delta + self._text_tail for head in self._choice_heads)

    def content(self, text: str) -> dict[str, Any]:
        """Give the message."""
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def logprobs(self, tokens: list[TokenLogprob], offset: int) -> dict[str, Any]:  # noqa: ARG002
        """Give one entry for each token; the engine knows no alternatives."""
        content = [
            {
                "token": token.token,
                "bytes": token.bytes,
                "logprob": token.logprob,
                "top_logprobs": [],
            }
            for token in tokens
        ]
        return {"content": content, "refusal": None}


class ChatHandler(GenerationHandler):
    """Answers a chat."""

    route = "/v1/chat/completions"

    @allowed("execute", "npu:chat")
    async def post(self) -> None:
        """Answer the messages with the model's next one."""
        body = ChatBody.parse(self.json_body())
        await self.generate(body, body.request(), ChatWire, logprobs=bool(body.logprobs))
