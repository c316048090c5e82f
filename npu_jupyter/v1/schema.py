"""What OpenAI clients send to generate text, checked and turned into the engine's words.

Fields that nobody knows are ignored, as are those of OpenAI that change nothing about the
answer (store, metadata, service_tier …). A field that would change the answer and that the
engine cannot honour is refused by name: see `npu_jupyter.v1.refusals`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)

from npu_jupyter.engine.messages import Sampling
from npu_jupyter.engine.stream import GenerateRequest
from npu_jupyter.errors import InvalidRequest
from npu_jupyter.v1.complaints import complain
from npu_jupyter.v1.json_schema import ResponseFormat, check_depth
from npu_jupyter.v1.messages import Message
from npu_jupyter.v1.refusals import CHAT_REFUSALS, COMPLETION_REFUSALS, refuse
from npu_jupyter.v1.tokens import as_prompts

_INT32_MAX = 2**31 - 1
_SEED_MASK = 2**63 - 1
"""The engine's seeds are unsigned; the sign bit of a negative one is dropped."""
_MAX_STOP_STRINGS = 4
_MAX_STOP_LENGTH = 1_000
_MAX_CHOICES = 16
_MAX_PROMPTS = 256
_MAX_NAME_LENGTH = 256
_DEFAULT_MAX_TOKENS = 256
_DEFAULT_TEMPERATURE = 0.7


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


ModelName = Annotated[str, Field(min_length=1, max_length=_MAX_NAME_LENGTH)]
StopString = Annotated[str, Field(min_length=1, max_length=_MAX_STOP_LENGTH)]
StopStrings = Annotated[
    list[StopString], BeforeValidator(_as_list), Field(max_length=_MAX_STOP_STRINGS)
]
TokenLimit = Annotated[int, Field(ge=1, le=_INT32_MAX)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Body(BaseModel):
    """A JSON body: types are taken as they are sent, ``"0.5"`` is no number."""

    model_config = ConfigDict(strict=True, extra="ignore", defer_build=True)

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Self:
        """Check `body`.

        Raises:
            InvalidRequest: with the field at fault in `param`.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise complain(error) from None


class StreamOptions(Body):
    """What a streamed answer contains besides the text."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    """The counts so far after each text, by vLLM's name: who shows a speed cannot count tokens."""


class GenerationBody(Body):
    """The fields that chat and plain completions share."""

    model: ModelName
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Share | None = None
    n: Annotated[int, Field(ge=1, le=_MAX_CHOICES)] | None = None
    stop: StopStrings | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    max_tokens: TokenLimit | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    user: str | None = None

    # Beyond OpenAI's, by the names that vLLM and others gave them.
    top_k: Annotated[int, Field(ge=-1, le=_INT32_MAX)] | None = None
    min_p: Share | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = None
    ignore_eos: bool | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def continuous_usage(self) -> bool:
        """Whether a stream tells the token counts as it goes."""
        return self.include_usage and bool(
            self.stream_options and self.stream_options.continuous_usage_stats
        )

    def _sampling(
        self, *, max_tokens: int | None, logprobs: bool, json_schema: str | None = None
    ) -> Sampling:
        temperature = _DEFAULT_TEMPERATURE if self.temperature is None else self.temperature
        top_p = 1.0 if self.top_p is None else self.top_p
        if top_p == 0:  # the likeliest token alone, which the engine knows as temperature 0
            temperature, top_p = 0.0, 1.0
        return Sampling(
            max_tokens=max_tokens or _DEFAULT_MAX_TOKENS,
            temperature=temperature,
            top_p=top_p,
            top_k=self.top_k if self.top_k and self.top_k > 0 else None,
            min_p=self.min_p,
            seed=None if self.seed is None else self.seed & _SEED_MASK,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=self.repetition_penalty,
            stop=tuple(self.stop or ()),
            logprobs=logprobs,
            ignore_eos=bool(self.ignore_eos),
            json_schema=json_schema,
        )


class ChatBody(GenerationBody):
    """The body of ``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Literal[0] | None = None
    response_format: ResponseFormat | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Self:
        """Check `body`, fields that cannot be honoured first.

        Raises:
            UnsupportedParameter: a field of OpenAI's that would change the answer.
            InvalidRequest: any other fault, with the field in `param`.
        """
        refuse(body, CHAT_REFUSALS)
        return super().parse(body)

    def request(self) -> GenerateRequest:
        """Say the same to the engine.

        Raises:
            InvalidSchema: the JSON schema is none, or larger than the server takes.
        """
        template_kwargs = self.chat_template_kwargs or {}
        check_depth(template_kwargs, "chat_template_kwargs")
        return GenerateRequest(
            messages=[message.rendered() for message in self.messages],
            n=self.n or 1,
            template_kwargs=template_kwargs,
            sampling=self._sampling(
                max_tokens=self.max_completion_tokens or self.max_tokens,
                logprobs=bool(self.logprobs),
                json_schema=self.response_format.json_text() if self.response_format else None,
            ),
        )


class CompletionBody(GenerationBody):
    """The body of ``POST /v1/completions``."""

    prompt: Annotated[list[str] | list[list[int]], PlainValidator(as_prompts)]
    echo: bool | None = None
    logprobs: Literal[0] | None = None

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Self:
        """Check `body`, fields that cannot be honoured first.

        Raises:
            UnsupportedParameter: a field of OpenAI's that would change the answer.
            InvalidRequest: any other fault, with the field in `param`.
        """
        refuse(body, COMPLETION_REFUSALS)
        parsed = super().parse(body)
        if len(parsed.prompt) > _MAX_PROMPTS:
            raise InvalidRequest(
                f"prompt holds {len(parsed.prompt)} prompts; at most {_MAX_PROMPTS} are taken.",
                param="prompt",
            )
        return parsed

    def request(self) -> GenerateRequest:
        """Say the same to the engine."""
        return GenerateRequest(
            prompts=list(self.prompt),
            n=self.n or 1,
            echo=bool(self.echo),
            sampling=self._sampling(max_tokens=self.max_tokens, logprobs=self.logprobs is not None),
        )
