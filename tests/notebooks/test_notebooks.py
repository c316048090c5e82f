"""The example notebooks, from top to bottom, in kernels that a real server starts."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client import BlockingKernelClient
from serving import ROOT, Server

_NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_CELL_TIMEOUT_S = 240
_FEW_STEPS = {"parameters": "EPOCHS = 0.1\nLEARNING_RATE = 1e-3"}
"""In place of the cell with this tag: what the notebook does, and not until it is any good."""


class Kernel:
    """A kernel of the server, which found there what the extension puts into its environment."""

    def __init__(self, connection_file: Path) -> None:
        self._client = BlockingKernelClient(connection_file=str(connection_file))
        self._client.load_connection_file()
        # Without the heartbeat, which a busy machine would take for the kernel's death.
        self._client.start_channels(hb=False)
        self._client.wait_for_ready(timeout=60)

    def run(self, code: str) -> list[dict[str, Any]]:
        """Run a cell as JupyterLab does; give its outputs, in the order in which they came."""
        outputs: list[dict[str, Any]] = []

        def collect(message: dict[str, Any]) -> None:
            if message["msg_type"] in {"stream", "execute_result", "error"}:
                outputs.append(message["content"])

        reply = self._client.execute_interactive(
            code, output_hook=collect, allow_stdin=False, timeout=_CELL_TIMEOUT_S
        )
        content = reply["content"]
        assert content["status"] == "ok", f"{content['ename']}: {content['evalue']}\n\n{code}"
        return outputs

    def close(self) -> None:
        """Stop listening."""
        self._client.stop_channels()


@contextmanager
def kernel_of(server: Server) -> Iterator[Kernel]:
    """Have the server start a kernel as it does for a notebook, and end it."""
    runtime_dir = server.log.parent / "runtime"
    with server.http() as http:
        reply = http.post("/api/kernels", json={"name": "python3", "path": "."})
        assert reply.status_code == 201, reply.text
        kernel_id = reply.json()["id"]
        kernel = Kernel(runtime_dir / f"kernel-{kernel_id}.json")
        try:
            yield kernel
        finally:
            kernel.close()
            http.delete(f"/api/kernels/{kernel_id}")


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    """Give a notebook's code cells, as they lie on disk."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def text_of(outputs: list[dict[str, Any]]) -> str:
    """Join what a cell printed and what it showed."""
    return "".join(
        output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs
    )


def source_of(cell: dict[str, Any]) -> str:
    """Give a cell's code, with fewer steps where it sets how many."""
    tags = cell["metadata"].get("tags", [])
    return next((_FEW_STEPS[tag] for tag in tags if tag in _FEW_STEPS), "".join(cell["source"]))


@functools.cache
def run_all(server: Server, notebook: Path) -> list[list[dict[str, Any]]]:
    """Run a notebook once, however many tests look at its outputs; its data lies beside it."""
    data = server.log.parent / "work" / "data"
    shutil.copytree(ROOT / "notebooks" / "data", data, dirs_exist_ok=True)
    with kernel_of(server) as kernel:
        return [kernel.run(source_of(cell)) for cell in code_cells(notebook)]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", _NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(server: Server, notebook: Path) -> None:
    assert len(run_all(server, notebook)) > 1


@pytest.mark.slow
def test_the_quickstart_shows_what_it_says(server: Server) -> None:
    outputs = run_all(server, ROOT / "notebooks" / "01-quickstart.ipynb")
    answer, models, seeds, stopped, person, search, status = map(text_of, outputs)
    assert "notebook" in answer.lower()
    assert len(outputs[0]) > 1, "the answer came in one piece"
    assert "smollm2-135m-instruct" in models
    assert "all-minilm-l6-v2" in models
    first, second, again = seeds.splitlines()
    assert first == again
    assert first[1:] != second[1:]
    assert "5" in stopped
    assert "6" not in stopped
    assert person == "Person(name='Ada', age=36, city='London')"
    assert "neural network" in search.splitlines()[0]
    assert "rain" in search.splitlines()[1]
    assert "cat" in search.splitlines()[2]
    assert "smollm2-135m-instruct" in status


@pytest.mark.slow
def test_a_stream_that_is_left_ends_on_the_server(server: Server) -> None:
    outputs = run_all(server, ROOT / "notebooks" / "02-openai-and-langchain.ipynb")
    (status,) = [text for text in map(text_of, outputs) if "RUNNING" in text]
    assert "0 of 64" in status


@pytest.mark.slow
def test_search_finds_the_passages(server: Server) -> None:
    outputs = run_all(server, ROOT / "notebooks" / "03-search-and-rag.ipynb")
    (measured,) = [text for text in map(text_of, outputs) if text.startswith("first: ")]
    assert "among three: 8" in measured


@pytest.mark.slow
def test_examples_and_meaning_label_better_than_asking(server: Server) -> None:
    outputs = run_all(server, ROOT / "notebooks" / "04-label-a-dataframe.ipynb")
    printed = " ".join(map(text_of, outputs))
    asked, shown, near = map(int, re.findall(r"right.*?: (\d+)%", printed))
    assert asked < shown
    assert asked < near


@pytest.mark.slow
def test_the_model_that_was_made_answers_in_the_next_cell(server: Server) -> None:
    outputs = run_all(server, ROOT / "notebooks" / "05-fine-tune.ipynb")
    shown = [text_of(cell) for cell in outputs]
    job = next(text for text in shown if "completed" in text)
    assert "smollm2-135m-instruct:harbour" in job
    with server.http() as http:
        made = http.get("/v1/models/smollm2-135m-instruct:harbour").json()
        # Other tests of the same server know which models it has.
        http.delete("/api/npu/models/smollm2-135m-instruct:harbour").raise_for_status()
    assert made["parent"] == "smollm2-135m-instruct"
    assert re.search(r"\d+ of 40 answers hold the word", shown[-2])


@pytest.mark.parametrize("notebook", _NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_saved(notebook: Path) -> None:
    saved = [cell["id"] for cell in code_cells(notebook) if cell["outputs"]]
    assert not saved, f"clear the outputs of {notebook.name}"
