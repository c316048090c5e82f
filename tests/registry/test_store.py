"""The database: models, load times and keys."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from npu_jupyter.errors import Conflict, ModelNotFound, NotFound, NpuError
from npu_jupyter.registry.store import Registry

_OPEN = (
    "import sys; from npu_jupyter.registry.store import Registry; Registry(data_dir=sys.argv[1])"
)


def _pull_in_place(registry: Registry, embedder_ir: Path, name: str = "minilm") -> int:
    return registry.pull(str(embedder_ir), name, in_place=True).id


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("sqlalchemy", "alembic", "gguf", "huggingface_hub", "httpx", "openvino",
             "openvino_genai", "torch", "transformers", "tokenizers", "numpy")  # fmt: skip
    code = f"{_OPEN}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, "nowhere"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert not Path("nowhere").exists()


def test_the_data_directory_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NPU_JUPYTER_DATA", str(tmp_path / "here"))
    assert Registry().data_dir == str(tmp_path / "here")
    assert Registry().models() == []
    assert (tmp_path / "here" / "npu.sqlite3").is_file()
    monkeypatch.delenv("NPU_JUPYTER_DATA")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    assert Registry().data_dir == str(tmp_path / "jupyter" / "npu")


def test_another_database_keeps_the_models(tmp_path: Path, embedder_ir: Path) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    registry = Registry(data_dir=str(tmp_path / "data"), db_url=url)
    _pull_in_place(registry, embedder_ir)
    assert not (tmp_path / "data" / "npu.sqlite3").exists()
    assert Registry(data_dir=str(tmp_path / "data"), db_url=url).get("minilm").id == 1
    broken = Registry(data_dir=str(tmp_path), db_url="sqlite:////nowhere/at/all.db")
    with pytest.raises(NpuError, match=r"cannot be opened.*Registry\.db_url"):
        broken.models()


def test_what_there_is_not_is_told_with_what_is_like_it(
    registry: Registry, embedder_ir: Path
) -> None:
    with pytest.raises(ModelNotFound, match=r"None is registered yet.*jupyter npu pull"):
        registry.get("minilm")
    model_id = _pull_in_place(registry, embedder_ir)
    assert registry.get(model_id) == registry.get("minilm")
    with pytest.raises(ModelNotFound, match=r"Did you mean minilm\?"):
        registry.get("mini-lm")
    for wrong in (0, -1, 10**30, "", "../minilm", "minilm\x00", "\ud800", "x" * 10_000_000):
        with pytest.raises(ModelNotFound, match="There is no model"):
            registry.get(wrong)
        with pytest.raises(ModelNotFound, match="There is no model"):
            registry.remove(str(wrong))


def test_an_id_is_never_given_twice(registry: Registry, embedder_ir: Path) -> None:
    first = _pull_in_place(registry, embedder_ir)
    registry.remove("minilm")
    assert _pull_in_place(registry, embedder_ir) > first


def test_load_times_are_remembered_by_device_and_go_with_the_model(
    registry: Registry, embedder_ir: Path
) -> None:
    model_id = _pull_in_place(registry, embedder_ir)
    assert registry.expected_load(model_id, "CPU") == {}
    registry.record_load(model_id, "CPU", {"read": 1.0, "compile": 2.5})
    registry.record_load(model_id, "CPU", {"read": 0.5})
    registry.record_load(model_id, "NPU", {"compile": 90.0})
    assert registry.expected_load(model_id, "CPU") == {"read": 0.5, "compile": 2.5}
    compiled = Path(registry.data_dir) / "compiled" / str(model_id)
    compiled.mkdir(parents=True)
    registry.remove("minilm")
    assert not compiled.exists()
    assert registry.expected_load(model_id, "CPU") == {}
    registry.record_load(model_id, "CPU", {"read": 1.0})
    assert registry.expected_load(model_id, "CPU") == {}


def test_keys_are_found_by_digest_until_they_are_revoked(registry: Registry) -> None:
    key = registry.add_key("laptop", "a" * 64, ("chat", "load"), "ada")
    other = registry.add_key("phone", "b" * 64, owner="bob")
    assert (key.scopes, other.scopes, key.last_used) == (("chat", "load"), (), None)
    found = registry.find_key("a" * 64)
    assert found is not None
    assert found.id == key.id
    assert found.last_used is not None
    assert registry.find_key("c" * 64) is None
    assert registry.revoke_key(key.id).revoked is not None
    assert registry.find_key("a" * 64) is None
    assert [k.name for k in registry.list_keys()] == ["laptop", "phone"]
    assert [k.name for k in registry.list_keys("bob")] == ["phone"]
    with pytest.raises(NotFound, match="There is no key 99"):
        registry.revoke_key(99)


def test_threads_and_registries_share_one_database(tmp_path: Path) -> None:
    # Four registries stand for four servers; each opens, migrates and writes at once.
    registries = [Registry(data_dir=str(tmp_path)) for _ in range(4)]
    barrier = threading.Barrier(16)

    def add(number: int) -> None:
        barrier.wait()
        for turn in range(5):
            registries[number % 4].add_key(f"{number}-{turn}", f"{number:032}{turn:032}")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(add, range(16)))
    assert all(len(registry.list_keys()) == 80 for registry in registries)


def test_servers_that_open_a_new_directory_at_once_all_find_it_ready(tmp_path: Path) -> None:
    code = f"{_OPEN}.add_key(sys.argv[2], sys.argv[2])"
    servers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "new"), str(number)])
        for number in range(4)
    ]
    assert [server.wait() for server in servers] == [0, 0, 0, 0]
    assert len(Registry(data_dir=str(tmp_path / "new")).list_keys()) == 4


def test_the_migrations_make_the_tables_that_the_code_expects(registry: Registry) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import create_engine

    from npu_jupyter.registry.tables import Base

    registry.models()
    engine = create_engine(f"sqlite:///{registry.data_dir}/npu.sqlite3")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_that_is_up_to_date_is_opened_without_alembic(registry: Registry) -> None:
    registry.models()
    code = f"{_OPEN}.models(); print('alembic' in sys.modules, 'sqlalchemy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, registry.data_dir], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]


def test_a_database_of_a_newer_release_is_left_alone(registry: Registry) -> None:
    registry.models()
    registry.close()
    database = sqlite3.connect(Path(registry.data_dir) / "npu.sqlite3")
    with database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(Conflict, match="newer release"):
        registry.models()


def test_a_file_that_is_no_database(registry: Registry) -> None:
    data_dir = Path(registry.data_dir)
    data_dir.mkdir()
    (data_dir / "npu.sqlite3").write_bytes(b"not a database" * 1000)
    with pytest.raises(NpuError, match="cannot be opened"):
        registry.models()


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NpuError, match=r"cannot be used: .* Choose another"):
        Registry(data_dir=str(tmp_path / "file" / "data")).models()
