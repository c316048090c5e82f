"""Fields of OpenAI's that would change the answer and that this engine cannot honour.

To ignore one would be a silent wrong answer, so each is refused by name, but only when it is
set to something: SDKs send many of them as null or as their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from npu_jupyter.errors import UnsupportedParameter


@dataclass(frozen=True, slots=True)
class Refusal:
    """When a field is refused, and the words for it."""

    field: str
    because: str
    applies: Callable[[Mapping[str, Any]], bool]
    """Told the whole body: some fields matter only beside others."""


def _set(field: str, because: str) -> Refusal:
    return Refusal(field, because, lambda body: bool(body.get(field)))


def _tools_apply(body: Mapping[str, Any]) -> bool:
    return bool(body.get("tools")) and body.get("tool_choice") != "none"


def _functions_apply(body: Mapping[str, Any]) -> bool:
    return bool(body.get("functions")) and body.get("function_call") != "none"


def _asks_for_audio(body: Mapping[str, Any]) -> bool:
    modalities = body.get("modalities")
    return isinstance(modalities, list) and any(kind != "text" for kind in modalities)


def _positive(field: str) -> Callable[[Mapping[str, Any]], bool]:
    def applies(body: Mapping[str, Any]) -> bool:
        value = body.get(field)
        return isinstance(value, int) and not isinstance(value, bool) and value > 0

    return applies


def _best_of_applies(body: Mapping[str, Any]) -> bool:
    return body.get("best_of") is not None and body["best_of"] != (body.get("n") or 1)


_NO_TOOLS = (
    "calling tools is not supported yet. Leave it out, or set tool_choice to 'none' to get a "
    "plain answer"
)
_ONE_LOGPROB = "the engine gives the log probability of the chosen token only. Use 0"

_GENERATION_REFUSALS = [_set("logit_bias", "the engine cannot bias single tokens")]

CHAT_REFUSALS = [
    *_GENERATION_REFUSALS,
    Refusal("tools", _NO_TOOLS, _tools_apply),
    Refusal("functions", _NO_TOOLS, _functions_apply),
    Refusal(
        "tool_choice",
        "calling tools is not supported yet. Leave it out",
        lambda body: body.get("tool_choice") not in (None, "none", "auto"),
    ),
    Refusal("top_logprobs", _ONE_LOGPROB, _positive("top_logprobs")),
    Refusal("modalities", "models here answer in text only", _asks_for_audio),
    _set("audio", "models here answer in text only"),
    _set("prediction", "predicted outputs are not supported"),
    Refusal(
        "web_search_options",
        "models here have no access to the web",
        lambda body: body.get("web_search_options") is not None,
    ),
    _set("moderation", "nothing here moderates content"),
]
"""For chat completions."""

COMPLETION_REFUSALS = [
    *_GENERATION_REFUSALS,
    _set("suffix", "the engine cannot fill in before a suffix"),
    Refusal(
        "best_of", "the engine returns every completion that it makes. Use n", _best_of_applies
    ),
    Refusal("logprobs", _ONE_LOGPROB, _positive("logprobs")),
    Refusal(
        "logprobs",
        "with echo it would need the prompt's log probabilities, which the engine does not give",
        lambda body: body.get("logprobs") is not None and bool(body.get("echo")),
    ),
]
"""For plain completions."""

FINE_TUNING_REFUSALS = [
    _set(
        "validation_file",
        "a tenth of the rows of training_file is held out for evaluation. Leave it out",
    ),
    _set("integrations", "POST /api/finetune/start takes report_to. Leave it out"),
]
"""For fine-tuning jobs."""


def refuse(body: Mapping[str, Any], refusals: list[Refusal]) -> None:
    """Refuse the first field of `body` that cannot be honoured.

    Raises:
        UnsupportedParameter: naming the field and what to do.
    """
    for refusal in refusals:
        if refusal.applies(body):
            raise UnsupportedParameter(
                f"{refusal.field} is not supported: {refusal.because}.", param=refusal.field
            )
