"""What keeps others out of the bare service, which asks nobody on this machine for a key."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from jupyter_server.auth.identity import PasswordIdentityProvider
from service.conftest import Service
from service.wire import TIMEOUT_S, chat
from serving import LLM, Server

from npu_jupyter.service import LocalIdentityProvider, NpuServer

JSON = {"Content-Type": "application/json"}
HELLO = b'{"model": "%s", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}'
BODY = HELLO % LLM.encode()


CLIENT = httpx.Client(timeout=TIMEOUT_S)


def call(method: str, url: str, **parts: Any) -> httpx.Response:
    return CLIENT.request(method, url, **parts)


@pytest.mark.parametrize(
    "path",
    [
        "/api/kernels",
        "/api/kernelspecs",
        "/api/sessions",
        "/api/terminals",
        "/terminals/websocket/1",
        "/api/contents",
        "/api/contents/server.log",
        "/api/config/notebook",
        "/api/nbconvert",
        "/api/me",
        "/api/shutdown",
        "/api/status",
        "/files/server.log",
        "/view/server.log",
        "/edit/server.log",
        "/nbconvert/html/a.ipynb",
        "/custom/custom.css",
        "/lab",
        "/tree",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_serves_neither_kernels_nor_terminals_nor_files(
    bare_server: Server, method: str, path: str
) -> None:
    reply = call(method, bare_server.url + path, json={})
    assert reply.status_code in (403, 404), reply.text
    if method == "GET":
        assert reply.status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "192.0.2.1"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/status"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/models/unload"),
        ("GET", "/api/npu/devices"),
        ("GET", "/api/npu/events"),
    ],
)
def test_a_name_that_was_bound_to_this_address_opens_nothing(
    bare_server: Server, method: str, path: str, host: str
) -> None:
    headers = {"Host": host} | JSON
    reply = call(method, bare_server.url + path, headers=headers, content=BODY)
    assert reply.status_code == 403, reply.text
    assert reply.json()["error"]["code"] == "permission_denied"
    assert "allow_remote_access" in reply.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_names_of_this_machine_are_known(bare_server: Server, host: str) -> None:
    port = httpx.URL(bare_server.url).port
    reply = call("GET", f"{bare_server.url}/v1/models", headers={"Host": f"{host}:{port}"})
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models/load", "/api/npu/models"])
def test_pages_from_elsewhere_are_refused(bare_server: Server, path: str, origin: str) -> None:
    headers = {"Origin": origin} | JSON
    reply = call("POST", bare_server.url + path, headers=headers, content=BODY)
    assert reply.status_code == 403, reply.text
    assert reply.json()["error"]["code"] == "permission_denied"
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_pages_from_elsewhere_cannot_read_answers(bare_server: Server) -> None:
    headers = {"Origin": "https://evil.example"}
    reply = call("GET", f"{bare_server.url}/v1/models", headers=headers)
    assert "Access-Control-Allow-Origin" not in reply.headers
    headers |= {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    reply = call("OPTIONS", f"{bare_server.url}/v1/chat/completions", headers=headers)
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_its_own_pages_may_call_it(bare_server: Server) -> None:
    headers = {"Origin": bare_server.url} | JSON
    url = f"{bare_server.url}/v1/chat/completions"
    reply = call("POST", url, headers=headers, content=BODY)
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain; charset=application/json",
        "application/x-www-form-urlencoded",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models/unload", "/api/npu/models"])
def test_what_a_form_can_send_is_refused(bare_server: Server, path: str, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    reply = call("POST", bare_server.url + path, headers=headers, content=BODY)
    assert reply.status_code == 415, reply.text
    assert reply.json()["error"]["code"] == "unsupported_media_type"


def test_a_file_that_a_form_can_send_is_refused(bare_server: Server) -> None:
    reply = call("POST", f"{bare_server.url}/v1/chat/completions", files={"a": BODY})
    assert reply.status_code == 415, reply.text


@pytest.mark.parametrize(
    ("ip", "provider"),
    [
        ("127.0.0.1", LocalIdentityProvider),
        ("127.0.0.2", LocalIdentityProvider),
        ("::1", LocalIdentityProvider),
        ("localhost", LocalIdentityProvider),
        ("0.0.0.0", PasswordIdentityProvider),  # noqa: S104 - nothing is bound
        ("::", PasswordIdentityProvider),
        ("192.0.2.1", PasswordIdentityProvider),
        ("", PasswordIdentityProvider),
        ("a-name-of-this-machine", PasswordIdentityProvider),
    ],
)
def test_whoever_can_be_reached_from_outside_asks_for_a_key(ip: str, provider: type) -> None:
    server = NpuServer(ip=ip)
    assert server.identity_provider_class is provider
    assert server.disable_check_xsrf == (provider is LocalIdentityProvider)


def test_a_browser_that_can_log_in_is_asked_for_its_xsrf_cookie() -> None:
    server = NpuServer(ip="127.0.0.1", identity_provider_class=PasswordIdentityProvider)
    assert not server.disable_check_xsrf


def test_a_service_that_asks_for_a_key(service: Service) -> None:
    server = service(
        "--ServerApp.identity_provider_class=jupyter_server.auth.identity.PasswordIdentityProvider",
        "--IdentityProvider.token=the-token",
    )
    url = f"{server.url}/v1/chat/completions"
    assert call("GET", f"{server.url}/health").status_code == 200
    for key in ("", "wrong", "sk-npu-wrong"):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        reply = call("POST", url, headers=headers, json=chat())
        assert reply.status_code == 401, reply.text
        assert reply.json()["error"]["code"] == "invalid_api_key"
    for key in ("the-token", server.key("chat")):
        headers = {"Authorization": f"Bearer {key}"}
        assert call("GET", f"{server.url}/v1/models", headers=headers).status_code == 200
    assert call("POST", url, headers=headers, json=chat(model="none")).status_code == 404
    assert call("GET", f"{server.url}/api/kernels", headers=headers).status_code == 404
