"""What ``/metrics`` says about us, in the registry that Jupyter Server publishes.

No label ever holds what a caller chose: neither model, user nor path, only our own routes.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_REQUESTS = Counter(
    "npu_jupyter_requests",
    "Requests answered, by route and HTTP status; 499 is a client that left.",
    ["route", "status"],
)
_SECONDS = Histogram(
    "npu_jupyter_request_seconds",
    "Seconds from a request's arrival to the last byte of its answer.",
    ["route"],
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
_TOKENS = Counter("npu_jupyter_tokens", "Tokens read and written by models.", ["kind"])
_PROMPT_TOKENS = _TOKENS.labels("prompt")
_COMPLETION_TOKENS = _TOKENS.labels("completion")


def count_request(route: str, status: int, seconds: float) -> None:
    """Count one answered request."""
    _REQUESTS.labels(route, str(status)).inc()
    _SECONDS.labels(route).observe(seconds)


def count_tokens(prompt: int, completion: int = 0) -> None:
    """Count the tokens of one request."""
    _PROMPT_TOKENS.inc(prompt)
    _COMPLETION_TOKENS.inc(completion)
