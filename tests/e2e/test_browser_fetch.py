"""Pages in a browser: JupyterLab's own may call the API, those from elsewhere may not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Error, Page
from serving import LLM, Server

pytestmark = pytest.mark.slow

QUESTION: dict[str, Any] = {
    "model": LLM,
    "messages": [{"role": "user", "content": "Write five sentences about the city of Paris."}],
    "temperature": 0,
    "stream": True,
}

_STREAM = """async ([url, question, sendsToken]) => {
  const headers = { 'Content-Type': 'application/json' };
  if (sendsToken) {
    headers['X-XSRFToken'] = document.cookie.match(/\\b_xsrf=([^;]*)/)[1];
  }
  const reply = await fetch(url, { method: 'POST', headers, body: JSON.stringify(question) });
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  const pieces = [];
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    pieces.push(part.value);
  }
  return { status: reply.status, pieces };
}"""

_FETCH = """async ([url, options]) => {
  const reply = await fetch(url, { credentials: 'include', ...options });
  return reply.text();
}"""


class _BlankPage(BaseHTTPRequestHandler):
    """Serves an empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base names it
        """Say nothing."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The address of a page of another origin, on this very host: cookies travel from there."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _BlankPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def lab_page(page: Page, lab: Server) -> Page:
    """A page of JupyterLab, logged in."""
    page.goto(f"{lab.url}/lab?token={lab.token}", wait_until="commit")
    return page


@pytest.fixture
def foreign_page(page: Page, lab: Server, elsewhere: str) -> Page:
    """A page from elsewhere, in a browser that is logged in to JupyterLab."""
    page.request.get(f"{lab.url}/lab?token={lab.token}")
    assert page.context.cookies(f"{lab.url}/")
    page.goto(elsewhere)
    return page


def test_page_of_jupyterlab_streams_an_answer(lab_page: Page, lab: Server) -> None:
    told = lab_page.evaluate(_STREAM, [f"{lab.url}/v1/chat/completions", QUESTION, True])
    assert told["status"] == 200
    assert len(told["pieces"]) > 3
    text = "".join(told["pieces"])
    assert "Paris" in text
    assert text.endswith("data: [DONE]\n\n")


def test_login_alone_is_not_enough(lab_page: Page, lab: Server) -> None:
    told = lab_page.evaluate(_STREAM, [f"{lab.url}/v1/chat/completions", QUESTION, False])
    assert told["status"] == 403
    assert "X-XSRFToken" in "".join(told["pieces"])


@pytest.mark.parametrize("service", ["lab", "bare_server"])
@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/v1/models", {}),
        ("/v1/chat/completions", {"headers": {"Content-Type": "application/json"}}),
        ("/v1/chat/completions", {"headers": {"Content-Type": "text/plain"}}),
    ],
)
def test_page_from_elsewhere_reads_and_runs_nothing(
    foreign_page: Page,
    request: pytest.FixtureRequest,
    service: str,
    path: str,
    options: dict[str, Any],
) -> None:
    server: Server = request.getfixturevalue(service)
    counted = tokens(server)
    if options:
        options = {**options, "method": "POST", "body": json.dumps(QUESTION)}
    with pytest.raises(Error, match="Failed to fetch"):
        foreign_page.evaluate(_FETCH, [f"{server.url}{path}", options])
    assert tokens(server) == counted


@pytest.mark.parametrize("service", ["lab", "bare_server"])
def test_blind_post_from_elsewhere_is_refused(
    foreign_page: Page, request: pytest.FixtureRequest, service: str
) -> None:
    """A page may send text/plain without asking first; what comes back it cannot read."""
    server: Server = request.getfixturevalue(service)
    options = {"method": "POST", "mode": "no-cors", "body": json.dumps(QUESTION)}
    with foreign_page.expect_response("**/v1/chat/completions") as refused:
        foreign_page.evaluate(_FETCH, [f"{server.url}/v1/chat/completions", options])
    assert refused.value.status == 403


def tokens(server: Server) -> float:
    """Count the tokens that models have read and written."""
    with server.http() as http:
        lines = http.get("/metrics").text.splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith("npu_jupyter_tokens_total")
    )
