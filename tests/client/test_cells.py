"""Magics, bars and interrupts in the cells of a real kernel."""

from __future__ import annotations

import pytest
from client.kernel import Kernel, text_of
from fakes.waiting import wait_until
from serving import EMBEDDER, LLM, Server

pytestmark = pytest.mark.slow

_ENDLESS = f"""
import npu_jupyter as npu, time
stream = npu.openai().chat.completions.create(
    model="{LLM}",
    messages=[{{"role": "user", "content": "Count."}}],
    max_tokens=1_000_000,
    stream=True,
    extra_body={{"ignore_eos": True}},
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
    time.sleep(%s)
"""
_ENDLESS_ASYNC = f"""
import asyncio
stream = await npu.async_openai().chat.completions.create(
    model="{LLM}",
    messages=[{{"role": "user", "content": "Count."}}],
    max_tokens=1_000_000,
    stream=True,
    extra_body={{"ignore_eos": True}},
)
async for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
    await asyncio.sleep(0.05)
"""
_ROWS = """
import pandas as pd
rows = pd.Series([f"Tell a long story about the number {n}." for n in range(300)])
answers = rows.npu.ask("{text}", max_tokens=100)
print("never reached")
"""


def nothing_runs(server: Server) -> bool:
    """Whether no model has a request."""
    with server.http() as http:
        models = http.get("/v1/models/status").json()["models"]
    return not any(model["requests_running"] + model["requests_waiting"] for model in models)


@pytest.mark.parametrize("pause_s", [0, 0.05])
def test_an_interrupted_stream_ends_on_the_server(
    server: Server, kernel: Kernel, pause_s: float
) -> None:
    reply, _ = kernel.run_until(_ENDLESS % pause_s, lambda shown: len(shown) > 20)
    assert reply["ename"] == "KeyboardInterrupt"
    wait_until(lambda: nothing_runs(server))


def test_an_interrupted_stream_of_the_async_client_ends_too(server: Server, kernel: Kernel) -> None:
    kernel.run("import npu_jupyter as npu; npu.current()")
    reply, _ = kernel.run_until(_ENDLESS_ASYNC, lambda shown: len(shown) > 20)
    assert reply["status"] == "error"
    wait_until(lambda: nothing_runs(server))


def test_a_magic_streams_and_stops(server: Server, kernel: Kernel) -> None:
    reply, _ = kernel.run("%load_ext npu_jupyter")
    assert reply["status"] == "ok"
    code = f"%%npu {LLM} --max-tokens 100000 --temperature 0\nCount to a million."
    reply, shown = kernel.run_until(code, lambda shown: "tokens" in shown or len(shown) > 200)
    wait_until(lambda: nothing_runs(server))
    assert reply["status"] == "error"
    assert "· stopped" in shown


def test_a_magic_fills_expressions_and_keeps_the_answer(kernel: Kernel) -> None:
    kernel.run("%load_ext npu_jupyter\ncity = 'France'")
    cell = f"%%npu {LLM} --temperature 0 --as said\nWhat is the capital of {{city.upper()}}?"
    reply, outputs = kernel.run(cell)
    assert reply["status"] == "ok", reply
    kinds = [message["msg_type"] for message in outputs]
    assert kinds[0] == "display_data"
    assert set(kinds[1:]) == {"update_display_data"}
    last = outputs[-1]["content"]["data"]
    assert f"<small>{LLM} on CPU" in last["text/html"]
    assert "<p>" in last["text/html"]
    assert f"{LLM} on CPU" in last["text/plain"]
    _, outputs = kernel.run("print(said)")
    assert "Paris" in text_of(outputs)


def test_what_a_user_can_mend_has_no_traceback(kernel: Kernel) -> None:
    kernel.run("%load_ext npu_jupyter")
    for cell, fault in (
        ("%%npu none\nHello", "ModelNotFound: There is no model 'none'"),
        (f"%%npu {LLM}\n{{nowhere}}", "InvalidRequest: An expression in braces"),
        ("%npu model", "InvalidRequest: There is no `%npu model`"),
        ("import npu_jupyter as npu\nnpu.current().model('none')", "ModelNotFound"),
    ):
        reply, outputs = kernel.run(cell)
        assert reply["status"] == "error"
        shown = text_of(outputs)
        assert shown.startswith(fault)
        assert "Traceback" not in shown
        assert "connecting.py" not in shown


def test_tables_and_loading(kernel: Kernel) -> None:
    kernel.run("%load_ext npu_jupyter")
    _, outputs = kernel.run("%npu models")
    assert set(outputs[-1]["content"]["data"]) == {"text/plain", "text/html", "text/markdown"}
    reply, _ = kernel.run(f"%npu load {EMBEDDER}\n%npu unload {EMBEDDER}")
    assert reply["status"] == "ok", reply


def test_interrupted_rows_stop_and_say_what_is_kept(server: Server, kernel: Kernel) -> None:
    reply, shown = kernel.run_until(_ROWS, lambda shown: "stop the kernel at any time" in shown)
    assert reply["status"] == "error"
    wait_until(lambda: nothing_runs(server))
    assert "rows are kept; run the cell again to go on with the other" in shown
    assert "never reached" not in shown
    assert "Traceback" not in shown


def test_a_bar_is_an_output_that_stays(kernel: Kernel) -> None:
    reply, outputs = kernel.run(
        'import pandas as pd\nimport npu_jupyter as npu\nnames = [f"Name {n}" for n in range(24)]\n'
        'pd.Series(names).npu.ask("Greet {text}.", max_tokens=40, cache=False);'
    )
    assert reply["status"] == "ok", reply
    drawn = [m for m in outputs if m["msg_type"] in {"display_data", "update_display_data"}]
    last = drawn[-1]["content"]["data"]
    assert "24/24" in last["text/plain"]
    assert f"{LLM} on CPU" in last["text/plain"]
    assert 'role="progressbar"' in last["text/html"]
    assert not [m for m in outputs if m["msg_type"] == "stream"]


def test_what_is_quick_shows_no_bar(kernel: Kernel) -> None:
    quick = 'pd.Series(names[:1]).npu.ask("Greet {text}.", max_tokens=1)'
    kernel.run(quick)
    reply, outputs = kernel.run(quick + ";")
    assert reply["status"] == "ok", reply
    assert outputs == []
