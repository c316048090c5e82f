"""What can go wrong for a caller, each with its HTTP status and OpenAI error code.

Raised anywhere below the handlers; a handler turns it into the OpenAI envelope
``{"error": {"message", "type", "param", "code"}}``, the command line into one plain line.
A message says what happened, with its numbers, and what to do next.
"""

from __future__ import annotations

from typing import Any


class NpuError(Exception):
    """A failure that is told to the caller in words."""

    status = 500
    type = "server_error"
    code: str | None = None
    retryable = False
    """Whether the same request may succeed later: clients that retry are told so."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Keep the message, the request field at fault and the seconds to wait."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def envelope(self) -> dict[str, Any]:
        """Give the body that OpenAI clients parse."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    def _render_traceback_(self) -> list[str]:
        """Show one line in a notebook, as nothing in a traceback would help."""
        return [f"{type(self).__name__}: {self.message}"]


class InvalidRequest(NpuError):
    """A field is missing, of the wrong type, out of range or not supported here."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class UnsupportedParameter(InvalidRequest):
    """A field that OpenAI has and this engine cannot honour."""

    code = "unsupported_parameter"


class InvalidSchema(InvalidRequest):
    """A JSON schema that the grammar compiler refuses."""

    code = "invalid_json_schema"


class ContextLengthExceeded(InvalidRequest):
    """The prompt is longer than the model's context."""

    code = "context_length_exceeded"


class InvalidApiKey(NpuError):
    """No key, an unknown one, or one that was revoked."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class PermissionDenied(NpuError):
    """The caller is known and may not do this."""

    status = 403
    type = "permission_error"
    code = "permission_denied"


class NotFound(NpuError):
    """There is no such thing at this address."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    """No model of that name is registered, or it is not loaded where it must be."""

    code = "model_not_found"


class Conflict(NpuError):
    """The thing is in a state that does not allow this."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class RequestTooLarge(NpuError):
    """The body is larger than this server accepts."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMediaType(NpuError):
    """The body is not JSON."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class RateLimited(NpuError):
    """This caller has more requests waiting than his share allows."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retryable = True


class EngineBusy(NpuError):
    """The whole waiting line is full, or there is no room to load another model."""

    status = 503
    type = "server_error"
    code = "engine_busy"
    retryable = True


class InsufficientMemory(EngineBusy):
    """The model does not fit beside those that are in use."""

    code = "insufficient_memory"


class InsufficientDisk(NpuError):
    """There is not enough space for a download or a conversion."""

    status = 507
    code = "insufficient_disk"


class WorkerDied(NpuError):
    """The process that ran the model ended in the middle of a request."""

    status = 503
    code = "worker_died"
    retryable = True


class ModelUnloaded(NpuError):
    """The model was unloaded while the request was running."""

    status = 503
    code = "model_unloaded"
    retryable = True


class LoadFailed(NpuError):
    """The model's files cannot be loaded on the chosen device."""

    status = 503
    code = "model_load_failed"


class DeviceUnavailable(NpuError):
    """The device that was asked for is not there or cannot run this model."""

    status = 400
    type = "invalid_request_error"
    code = "device_unavailable"


class DeadlineExceeded(NpuError):
    """The request waited or ran longer than the server's limit."""

    status = 504
    code = "deadline_exceeded"


class EngineFailed(NpuError):
    """The engine refused a request for a reason of its own."""

    code = "engine_failed"


class InvalidModel(NpuError):
    """The files are damaged, of an unknown architecture, or carry a wrong tokenizer."""

    status = 422
    type = "invalid_request_error"
    code = "invalid_model"


class HubUnreachable(NpuError):
    """The hub did not answer, and what is wanted is not on this machine."""

    status = 503
    code = "hub_unreachable"


class MissingExtra(NpuError):
    """A part of the product that was not installed is needed."""

    status = 501
    code = "missing_extra"

    def __init__(self, what: str, extra: str) -> None:
        """Name what was wanted and the command that brings it."""
        super().__init__(
            f"{what} needs packages that are not installed. "
            f'Install them with: pip install "npu-jupyter[{extra}]"'
        )
