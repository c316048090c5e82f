"""Datasets over HTTP: sent, listed, checked, removed; each caller's his own."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import yaml
from fakes.waiting import wait_until
from jsonschema import Draft202012Validator
from serving import EMBEDDER, LLM, Server

from npu_jupyter.errors import RequestTooLarge
from npu_jupyter.finetune.datasets.library import Datasets

DOCUMENT: Any = yaml.safe_load(
    (Path(__file__).parents[2] / "docs" / "openapi.yaml").read_text("utf-8")
)
ROWS = b'{"prompt": "Who?", "completion": "Ada."}\n{"prompt": 1}\n'
ADDRESS = "/api/npu/datasets"


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """Give a client with the server's token; what it has sent is removed."""
    with server.http() as client:
        yield client
        for dataset in client.get(ADDRESS).json()["datasets"]:
            client.delete(f"{ADDRESS}/{dataset['name']}")


def names(client: httpx.Client) -> list[str]:
    return [dataset["name"] for dataset in client.get(ADDRESS).json()["datasets"]]


def check(client: httpx.Client, dataset: str, **fields: Any) -> httpx.Response:
    return client.post(f"{ADDRESS}/check", json={"model": LLM, "dataset": dataset} | fields)


def as_documented(schema: str, value: Any) -> None:
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    Draft202012Validator(whole).validate(value)


def parts(server: Server) -> list[Path]:
    return list((server.data_dir / "datasets").rglob("*.part"))


def test_a_dataset_is_sent_listed_checked_and_removed(server: Server, http: httpx.Client) -> None:
    sent = http.put(f"{ADDRESS}/people.jsonl", content=ROWS)
    assert sent.status_code == 201
    as_documented("Dataset", sent.json())
    assert sent.json()["size_bytes"] == len(ROWS)
    assert names(http) == ["people.jsonl"]

    reply = check(http, "people.jsonl", preview=5)
    report = reply.json()
    as_documented("DatasetReport", report)
    assert (report["good_rows"], report["bad_rows"]) == (1, 1)
    assert report["reasons"] == [{"reason": "prompt is no text", "count": 1, "lines": [2]}]
    (shown,) = report["preview"]
    assert [part["text"] for part in shown["segments"] if part["learned"]] == ["Ada.<|im_end|>"]
    loaded = {Path(entry.path).name for entry in psutil.Process(server.pid).memory_maps()}
    assert not [name for name in loaded if "torch" in name or "arrow" in name]

    assert http.put(f"{ADDRESS}/people.jsonl", content=ROWS * 2).json()["size_bytes"] == len(
        ROWS * 2
    )
    assert names(http) == ["people.jsonl"]
    assert http.delete(f"{ADDRESS}/people.jsonl").json()["status"] == "removed"
    assert http.delete(f"{ADDRESS}/people.jsonl").status_code == 404
    assert names(http) == []
    assert parts(server) == []


def test_a_file_below_what_the_server_shows_can_be_named(
    server: Server, http: httpx.Client
) -> None:
    root = server.log.parent / "work"
    (root / "notes.txt").write_text("A first one.\n\nA second one.\n", "utf-8")
    report = check(http, "notes.txt", model_id=1).json()
    assert (report["container"], report["rows"]) == ("txt", 2)


def test_each_caller_has_his_own(server: Server, http: httpx.Client) -> None:
    http.put(f"{ADDRESS}/mine.jsonl", content=ROWS)
    with server.http(Authorization=f"Bearer {server.key('finetune')}") as other:
        assert names(other) == []
        assert check(other, "mine.jsonl").status_code == 404
        assert other.delete(f"{ADDRESS}/mine.jsonl").status_code == 404
        assert other.put(f"{ADDRESS}/mine.jsonl", content=ROWS * 3).status_code == 201
        assert other.get(ADDRESS).json()["datasets"][0]["size_bytes"] == len(ROWS * 3)
        other.delete(f"{ADDRESS}/mine.jsonl")
    assert names(http) == ["mine.jsonl"]


def test_who_may_not_is_refused_before_anything_is_kept(server: Server) -> None:
    with server.http(Authorization=f"Bearer {server.key('chat')}") as client:
        reply = client.put(f"{ADDRESS}/x.jsonl", content=ROWS)
        assert reply.status_code == 403
        assert "finetune" in reply.json()["error"]["message"]
        assert client.get(ADDRESS).status_code == 403
        assert check(client, "x.jsonl").status_code == 403
    with server.http(Accept="*/*") as client:
        assert client.put(f"{ADDRESS}/x.jsonl", content=ROWS).status_code == 401
    assert parts(server) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", b"", "is empty"),
        ("x.zip", b"PK\x03\x04", "compressed"),
        ("x.png", b"\x89PNG\r\n\x1a\n\0\0\0\r", "neither text nor Parquet"),
        ("..%2Fx", ROWS, "cannot be a dataset's name"),
        (".x", ROWS, "cannot be a dataset's name"),
        ("file-0123", ROWS, "cannot be a dataset's name"),
    ],
)
def test_what_is_no_dataset_is_not_kept(
    server: Server, http: httpx.Client, name: str, content: bytes, said: str
) -> None:
    reply = http.put(f"{ADDRESS}/{name}", content=content)
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]
    assert names(http) == []
    assert parts(server) == []


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"dataset": "/etc/passwd"}, 403, "dataset"),
        ({"dataset": "/etc/nothing"}, 403, "dataset"),
        ({"dataset": "../server.log"}, 403, "dataset"),
        ({"dataset": "nothing.jsonl"}, 404, "dataset"),
        ({"dataset": "fifo"}, 400, "dataset"),
        ({"dataset": "sparse"}, 413, "dataset"),
        ({"dataset": ""}, 400, "dataset"),
        ({"model": EMBEDDER}, 400, "model_id"),
        ({"model": "nobody"}, 404, "model_id"),
        ({"model": None}, 400, "model_id"),
        ({"max_length": -1}, 400, "max_length"),
        ({"max_length": 100_000}, 400, "max_length"),
        ({"preview": 1000}, 400, "preview"),
        ({"columns": {"text": 1}}, 400, "columns.text"),
    ],
)
def test_a_bad_request_is_told_by_its_field(
    server: Server, http: httpx.Client, fields: dict[str, Any], status: int, param: str
) -> None:
    root = server.log.parent / "work"
    (root / "rows.jsonl").write_bytes(ROWS)
    if not (root / "fifo").exists():
        os.mkfifo(root / "fifo")
    with (root / "sparse").open("wb") as file:
        file.truncate(10 * 2**30)
    reply = http.post(f"{ADDRESS}/check", json={"model": LLM, "dataset": "rows.jsonl"} | fields)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)


def _begin(server: Server, length: int) -> socket.socket:
    """Begin to send a dataset of `length` bytes, by hand."""
    address = urlsplit(server.url)
    assert address.hostname is not None
    connection = socket.create_connection((address.hostname, address.port or 80), timeout=30)
    lines = [
        f"PUT {address.path}{ADDRESS}/half.jsonl HTTP/1.1",
        f"Host: {address.netloc}",
        f"Authorization: Bearer {server.token}",
        f"Content-Length: {length}",
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def test_what_is_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    with _begin(server, 5 * 2**30) as connection:
        reply = connection.recv(65536).decode()
    assert reply.startswith("HTTP/1.1 413")
    body = json.loads(reply.partition("\r\n\r\n")[2])
    assert "5,120.0 MiB or more; datasets may have 4,096" in body["error"]["message"]


def test_a_caller_who_leaves_half_way_leaves_nothing(server: Server, http: httpx.Client) -> None:
    with _begin(server, 1000) as connection:
        connection.sendall(ROWS)
        wait_until(lambda: bool(parts(server)))
    wait_until(lambda: not parts(server))
    assert names(http) == []


def test_what_grows_too_large_is_cut_off(tmp_path: Path) -> None:
    datasets = Datasets(tmp_path, max_mib=1)
    incoming = datasets.receive("ada", "rows.jsonl", 0)
    incoming.write(b"x" * 2**20)
    with pytest.raises(RequestTooLarge, match="datasets may have 1"):
        incoming.write(b"x")
    incoming.drop()
    assert datasets.all("ada") == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_bare_service_opens_no_folder(bare_server: Server) -> None:
    with bare_server.http() as client:
        message = check(client, str(bare_server.log)).json()["error"]["message"]
    assert "none; set c.Datasets.roots" in message
