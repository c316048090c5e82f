"""From a request's sampling fields to the engine's generation config."""

from __future__ import annotations

import random

import openvino_genai as genai

from npu_jupyter.engine.messages import Sampling
from npu_jupyter.engine.worker.grammar import check_schema

_MAX_SEED = 2**64


def generation_config(
    base: genai.GenerationConfig, sampling: Sampling, *, max_new_tokens: int, choice: int
) -> genai.GenerationConfig:
    """Build the config of one choice from the model's own `base`.

    Choices of one request differ by their seed: the engine's own ``num_return_sequences`` keeps
    all text back until the end.
    """
    config = genai.GenerationConfig()
    config.eos_token_id = base.eos_token_id
    config.stop_token_ids = base.stop_token_ids
    config.max_new_tokens = max_new_tokens
    config.ignore_eos = sampling.ignore_eos
    config.do_sample = sampling.temperature > 0
    if config.do_sample:
        config.temperature = sampling.temperature
        config.top_p = sampling.top_p
        if sampling.top_k:
            config.top_k = sampling.top_k
        if sampling.min_p:
            config.min_p = sampling.min_p
        seed = random.getrandbits(63) if sampling.seed is None else sampling.seed
        config.rng_seed = (seed + choice) % _MAX_SEED
    config.presence_penalty = sampling.presence_penalty
    config.frequency_penalty = sampling.frequency_penalty
    if sampling.repetition_penalty:
        config.repetition_penalty = sampling.repetition_penalty
    if sampling.logprobs:
        config.logprobs = 1
    if sampling.json_schema is not None:
        check_schema(sampling.json_schema)
        config.structured_output_config = genai.StructuredOutputConfig(
            json_schema=sampling.json_schema
        )
    return config


def room(prompt_tokens: int, context_length: int, wanted: int | None) -> int:
    """Count the tokens that may be generated after a prompt; None wants all that fit."""
    left = context_length - prompt_tokens
    return left if wanted is None else min(wanted, left)
