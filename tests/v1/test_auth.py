"""Who may call: tokens, scoped keys, cookies, Hosts and Origins."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import openai
import pytest
from serving import LLM, Server

from npu_jupyter import api, finetune, v1

HELLO: Any = {"model": LLM, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
CHAT = "/v1/chat/completions"
VERBS = {"get", "post", "put", "patch", "delete"}
_PLACE = re.compile(r"\(.+?\)(?=/|$)")


def calls() -> list[tuple[str, str]]:
    """Give each method of each address of ours, but for those open to all."""
    return [
        (verb, _PLACE.sub("1", pattern))
        for pattern, handler in [*v1.routes(), *api.routes(), *finetune.routes()]
        for verb in sorted(VERBS & set(vars(handler)))
        if pattern != "/health"
    ]


@pytest.mark.parametrize(("verb", "path"), calls())
@pytest.mark.parametrize("key", [None, "wrong", "sk-npu-wrong"])
def test_every_address_wants_a_key(server: Server, verb: str, path: str, key: str | None) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {"Accept": "*/*"}
    with server.http(**headers) as http:
        reply = http.request(verb, path)
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.headers["x-should-retry"] == "false"
    assert key is None or key not in reply.text


def test_the_sdk_calls_it_an_authentication_error(server: Server) -> None:
    for stream in (False, True):
        with pytest.raises(openai.AuthenticationError) as refused:
            server.client(api_key="wrong").chat.completions.create(**HELLO, stream=stream)
        assert refused.value.code == "invalid_api_key"


def test_no_handler_of_ours_is_open_by_oversight(server: Server) -> None:
    assert "npu_jupyter" not in "".join(
        line for line in server.log.read_text("utf-8").splitlines() if "AuthWarning" in line
    )


@pytest.mark.parametrize(
    ("scope", "opens"),
    [
        ("chat", {"models", "chat"}),
        ("load", {"models", "load"}),
        ("finetune", {"models"}),
        ("admin", {"models", "load", "admin"}),
    ],
)
def test_a_scoped_key_opens_its_scope(server: Server, scope: str, opens: set[str]) -> None:
    asked = {
        "models": ("GET", "/v1/models", None, 200),
        "chat": ("POST", CHAT, HELLO, 200),
        "load": ("POST", "/v1/models/unload", {"name": "nobody"}, 404),
        "admin": ("DELETE", "/api/npu/models/nobody", None, 404),
    }
    with server.http(Authorization=f"Bearer {server.key(scope)}") as http:
        for resource, (verb, path, body, expected) in asked.items():
            reply = http.request(verb, path, json=body)
            assert reply.status_code == (expected if resource in opens else 403), resource
            if resource not in opens:
                assert reply.json()["error"]["code"] == "permission_denied"
                assert scope in reply.json()["error"]["message"]


def test_a_scoped_key_opens_nothing_else_of_jupyter(server: Server) -> None:
    key = server.key("chat", "load", "finetune", "admin")
    with server.http(Authorization=f"Bearer {key}") as http:
        for path in ("/api/contents", "/api/kernels", "/api/terminals", "/api/sessions", "/tree"):
            assert http.get(path).status_code in {302, 403, 404}
        assert http.post("/api/kernels", json={}).status_code == 403
        assert "set-cookie" not in http.get("/v1/models").headers


def test_a_browsers_cookie_needs_the_xsrf_token(server: Server) -> None:
    """As a page that JupyterLab serves calls us."""
    with server.http(Accept="*/*") as page:
        page.get("/login", params={"token": server.token}, follow_redirects=True)
        assert page.get("/v1/models").status_code == 200
        refused = page.post(CHAT, json=HELLO)
        assert refused.status_code == 403
        assert "X-XSRFToken" in refused.json()["error"]["message"]
        page.get("/login")
        xsrf = {"X-XSRFToken": page.cookies["_xsrf"]}
        assert page.post(CHAT, json=HELLO, headers=xsrf).status_code == 200
        foreign = xsrf | {"Origin": "https://evil.test"}
        told = page.post(CHAT, json=HELLO, headers=foreign)
        assert told.status_code == 403
        assert "evil.test" in told.json()["error"]["message"]


def test_a_page_from_an_allowed_origin(server: Server) -> None:
    origin = "https://app.example.org"
    asked = "authorization,content-type,x-stainless-os,x-stainless-lang"
    with server.http(Origin=origin) as http:
        preflight = http.options(
            CHAT,
            headers={
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": asked,
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == origin
        assert preflight.headers["access-control-allow-headers"] == asked
        assert "POST" in preflight.headers["access-control-allow-methods"]
        key = {"Authorization": f"Bearer {server.token}"}
        answered = http.post(CHAT, json=HELLO, headers=key)
        failed = http.post(CHAT, json={}, headers=key)
        for reply, status in ((answered, 200), (failed, 400)):
            assert reply.status_code == status
            assert reply.headers["access-control-allow-origin"] == origin
            assert "x-request-id" in reply.headers["access-control-expose-headers"]


def test_a_preflight_from_elsewhere_is_not_granted(server: Server) -> None:
    with server.http(Origin="https://evil.test") as http:
        preflight = http.options(CHAT, headers={"Access-Control-Request-Headers": "x-stainless-os"})
    assert "access-control-allow-origin" not in preflight.headers
    assert "x-stainless-os" not in preflight.headers.get("access-control-allow-headers", "")


class TestBareService:
    """No key is asked on loopback, so a web page must be kept out by what it cannot fake."""

    def test_no_key_and_any_key_are_fine(self, bare_server: Server) -> None:
        with httpx.Client(base_url=bare_server.url) as http:
            assert http.get("/v1/models").status_code == 200
        names = [model.id for model in bare_server.client(api_key="none").models.list()]
        assert LLM in names

    def test_a_foreign_host_is_refused(self, bare_server: Server) -> None:
        for host in ("evil.test", "evil.test:8000", "127.0.0.1.evil.test"):
            for verb, path in (("GET", "/v1/models"), ("POST", CHAT), ("GET", "/health")):
                reply = httpx.request(
                    verb, bare_server.url + path, headers={"Host": host}, json=HELLO
                )
                assert reply.status_code == 403
                assert reply.json()["error"]["code"] == "permission_denied"

    def test_a_foreign_origin_is_refused(self, bare_server: Server) -> None:
        for verb, path in (("GET", "/v1/models"), ("POST", CHAT), ("GET", "/api/npu/events")):
            headers = {"Origin": "https://evil.test"}
            reply = httpx.request(verb, bare_server.url + path, headers=headers, json=HELLO)
            assert reply.status_code == 403
            assert "access-control-allow-origin" not in reply.headers

    def test_a_form_in_a_page_cannot_post(self, bare_server: Server) -> None:
        for content_type in ("text/plain", "application/x-www-form-urlencoded"):
            headers = {"Content-Type": content_type}
            for path in (CHAT, "/v1/models/load", "/v1/models/unload", "/api/npu/models"):
                reply = httpx.post(
                    bare_server.url + path, content=json.dumps(HELLO), headers=headers
                )
                assert reply.status_code == 415
