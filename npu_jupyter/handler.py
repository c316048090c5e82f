"""The base of all our handlers: who may call, what a body is, how an error looks."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Coroutine
from functools import cached_property
from http.client import responses
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
from jupyter_server import CallContext
from jupyter_server.auth.authorizer import Authorizer
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider, User
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.handler import ExtensionHandlerMixin
from tornado import web
from tornado.iostream import StreamClosedError

from npu_jupyter import metrics
from npu_jupyter.access import SCOPE_AUTHORIZER
from npu_jupyter.engine.stream import Caller
from npu_jupyter.errors import (
    InvalidApiKey,
    InvalidRequest,
    NotFound,
    NpuError,
    PermissionDenied,
    RequestTooLarge,
    UnsupportedMediaType,
)
from npu_jupyter.json_object import parse_object
from npu_jupyter.keys import PREFIX, ApiKey

if TYPE_CHECKING:
    from npu_jupyter.app import NpuApp
    from npu_jupyter.engine.engine import Engine

_CLIENT_GONE = 499
"""The status under which proxies log a client that closed before its answer."""

_EXPOSED_HEADERS = "x-request-id, x-npu-device, retry-after"


class NpuHandler(ExtensionHandlerMixin, APIHandler):
    """Answers in the OpenAI envelope, whatever happens.

    A request is let in by Jupyter's own identity or by a scoped API key of ours. Without
    either the answer is 401, before Jupyter's XSRF check could say something misleading.
    """

    route: ClassVar[str] = ""
    """The address as documented: a label of the metrics."""

    api_key: ApiKey | None = None
    failed_status: int | None = None
    """The status of an error that was told after the headers had gone out."""

    _work: asyncio.Future[None] | None = None
    _client_gone = False

    @property
    def extensionapp(self) -> NpuApp:
        """The extension that holds the engine and its limits."""
        return cast("NpuApp", super().extensionapp)

    @property
    def engine(self) -> Engine:
        """The engine that all handlers share."""
        return self.extensionapp.engine

    @cached_property
    def request_id(self) -> str:
        """Name this request in the reply's headers and in the log."""
        return f"req_{uuid.uuid4().hex}"

    # Who calls

    async def prepare(self) -> None:  # type: ignore[override]
        """Identify the caller by an API key of ours, else as Jupyter does.

        Raises:
            PermissionDenied: the Host or the Origin is foreign.
            InvalidApiKey: nobody was identified.
        """
        if not self.check_host():
            self.current_user = self._jupyter_current_user = None
            raise PermissionDenied(
                f"This server is not reachable by the name {self.request.host!r}. "
                "If it should be, set c.ServerApp.allow_remote_access = True."
            )
        self.api_key = await self._presented_key()
        if self.api_key is None:
            await super().prepare()
            return
        CallContext.set(CallContext.JUPYTER_HANDLER, self)
        self.current_user = self._jupyter_current_user = User(self.api_key.owner)
        self.set_cors_headers()

    async def _presented_key(self) -> ApiKey | None:
        """Find the scoped key that the request carries, if it is one of ours."""
        header = self.request.headers.get("Authorization", "")
        bearer = IdentityProvider.auth_header_pat.match(header)
        if bearer is None or not bearer.group(2).startswith(PREFIX):
            return None
        return await asyncio.to_thread(self.extensionapp.keys.find, bearer.group(2))

    @property
    def token_authenticated(self) -> bool:
        """Whether a token or key came with the request: something no foreign page can add."""
        return self.api_key is not None or super().token_authenticated

    def skip_check_origin(self) -> bool:
        """Trust any origin that knows a key."""
        return self.api_key is not None or super().skip_check_origin()

    @property
    def authorizer(self) -> Authorizer:
        """A key's scopes decide for it, the server's own authorizer for users."""
        return SCOPE_AUTHORIZER if self.api_key is not None else super().authorizer

    @property
    def caller(self) -> Caller:
        """Who shares and limits are counted for.

        Jupyter's own identity providers name each token request with a new random id, so
        their users are one caller, ``local``. Others, the Hub's above all, give real names.
        """
        if self.api_key is not None:
            return Caller(self.api_key.id)
        provider = self.identity_provider
        if type(provider) is IdentityProvider or isinstance(provider, PasswordIdentityProvider):
            return Caller("local")
        return Caller(self.current_user.username)

    def check_xsrf_cookie(self) -> None:
        """Ask who calls before asking for a browser's XSRF token."""
        if not hasattr(self, "_jupyter_current_user"):
            return  # tornado asks once before prepare() knows
        if self.current_user is None:
            raise self._not_authenticated()
        try:
            super().check_xsrf_cookie()
        except web.HTTPError as error:
            raise PermissionDenied(
                "A request with a browser's login cookie needs the header X-XSRFToken with the "
                "value of the cookie _xsrf. Programs send 'Authorization: Bearer KEY' instead."
            ) from error

    def check_origin(self, origin_to_satisfy_tornado: str = "") -> bool:
        """Refuse a foreign page in words, where Jupyter Server would answer 404."""
        if super().check_origin(origin_to_satisfy_tornado):
            return True
        raise PermissionDenied(
            f"Pages from {self.request.headers.get('Origin')!r} may not call this server without "
            "a key. To allow them, set c.ServerApp.allow_origin."
        )

    def get_login_url(self) -> str:
        """Answer 401 where Jupyter would send a browser to the login page."""
        raise self._not_authenticated()

    def _not_authenticated(self) -> InvalidApiKey:
        key_sent = bool(self.request.headers.get("Authorization"))
        return InvalidApiKey(
            ("This API key is not known here. " if key_sent else "No API key was sent. ")
            + "Send the header 'Authorization: Bearer KEY' with the token of this Jupyter Server "
            "(see: jupyter server list) or a key of its own (see: jupyter npu keys --help)."
        )

    # Pages from elsewhere

    def set_cors_headers(self) -> None:
        """Let a page that may call us also read our headers."""
        super().set_cors_headers()
        if self._headers.get("Access-Control-Allow-Origin"):
            self.set_header("Access-Control-Expose-Headers", _EXPOSED_HEADERS)
        else:  # Jupyter Server echoes an Origin that was not sent as an empty one
            self.clear_header("Access-Control-Allow-Origin")

    @allow_unauthenticated
    def options(self, *args: Any, **kwargs: Any) -> None:
        """Answer a preflight: SDKs in browsers send headers of their own (x-stainless-…)."""
        super().options(*args, **kwargs)
        requested = self.request.headers.get("Access-Control-Request-Headers")
        if requested and self._headers.get("Access-Control-Allow-Origin"):
            self.set_header("Access-Control-Allow-Headers", requested)

    # What is asked

    def json_body(self) -> dict[str, Any]:
        """Read the body, which must be one JSON object.

        Raises:
            UnsupportedMediaType: the Content-Type is not application/json. A page from
                elsewhere can send other types without asking first, so this is also a lock.
            RequestTooLarge: above `NpuApp.max_body_bytes`.
            InvalidRequest: not UTF-8, not JSON (NaN and Infinity are not), not an object.
        """
        content_type = self.request.headers.get("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType(
                f"The body must be JSON with the header 'Content-Type: application/json', not "
                f"{content_type!r}."
            )
        limit = self.extensionapp.max_body_bytes
        if limit and len(self.request.body) > limit:
            raise RequestTooLarge(
                f"The body has {len(self.request.body):,} bytes; this server takes {limit:,}. "
                "Send less, or raise NpuApp.max_body_bytes."
            )
        return parse_object(self.request.body)

    def refuse_foreign_form(self) -> None:
        """Refuse a form that a page from elsewhere sends: for those no browser asks before.

        Raises:
            PermissionDenied: the browser says that it is one.
        """
        site = self.request.headers.get("Sec-Fetch-Site", "none")
        if site not in {"none", "same-origin"} and not self.token_authenticated:
            raise PermissionDenied("Forms of pages from elsewhere are not taken without a key.")

    # What is answered

    def set_default_headers(self) -> None:
        """Name each reply."""
        super().set_default_headers()
        self.set_header("x-request-id", self.request_id)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell an error in the OpenAI envelope, with advice on retrying in the headers."""
        exc_info = kwargs.get("exc_info")
        error = self.told(exc_info[1] if exc_info else web.HTTPError(status_code))
        self.set_status(error.status)
        if getattr(self, "_jupyter_current_user", None) is not None:
            self.set_cors_headers()  # sending an error starts with fresh headers
        if error.status == InvalidApiKey.status:
            self.set_header("WWW-Authenticate", "Bearer")
        if error.retry_after_s is not None:
            self.set_header("Retry-After", str(math.ceil(error.retry_after_s)))
        if not error.retryable:
            self.set_header("x-should-retry", "false")
        self.finish(msgspec.json.encode(error.envelope()))

    def told(self, error: BaseException) -> NpuError:
        """Put any exception into words for the caller; what we did not foresee stays in the log."""
        if isinstance(error, NpuError):
            return error
        if isinstance(error, web.HTTPError):
            return _from_http_error(error)
        told = NpuError(
            f"Something failed inside the server. Its log tells more under {self.request_id}."
        )
        told.code = "internal_error"
        return told

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log a foreseen failure as a line, anything else with its traceback."""
        if isinstance(value, NpuError):
            log = self.log.warning if value.status >= NpuError.status else self.log.info
            log("%s %s: %r", self.request_id, value.status, value.message)
        elif isinstance(value, web.HTTPError):
            self.log.info("%s %s", self.request_id, value)
        else:
            self.log.error("%s failed", self.request_id, exc_info=(typ, value, tb))  # type: ignore[arg-type]

    def on_finish(self) -> None:
        """Count the request."""
        super().on_finish()
        status = self.failed_status or self.get_status()
        metrics.count_request(self.route, status, self.request.request_time())

    # A client that leaves

    async def while_connected(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what answers the request, and cancel it when the client goes away."""
        self._work = asyncio.ensure_future(work)
        if self._client_gone:
            self._work.cancel()
        try:
            await self._work
        except StreamClosedError:
            self._client_gone = True
        except asyncio.CancelledError:
            if not self._client_gone:
                raise
        if self._client_gone and not self._finished:
            self.set_status(_CLIENT_GONE, "Client Closed Request")
            self.finish()

    def on_connection_close(self) -> None:
        """Stop the work that nobody waits for any more."""
        super().on_connection_close()
        self._client_gone = True
        if self._work is not None:
            self._work.cancel()


def _from_http_error(error: web.HTTPError) -> NpuError:
    """Put an error of tornado or Jupyter Server into our envelope."""
    message = error.log_message or responses.get(error.status_code, "Unknown error")
    if error.log_message and error.args:
        message = error.log_message % error.args
    for kind in (InvalidRequest, InvalidApiKey, PermissionDenied, NotFound):
        if kind.status == error.status_code:
            return kind(message)
    told = NpuError(message)
    told.status = error.status_code
    if error.status_code < NpuError.status:
        told.type = InvalidRequest.type
    return told
