"""What `import npu_jupyter` costs: only what every Jupyter Server has anyway."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_HEAVY = {"httpx", "numpy", "openai", "openvino", "pandas", "pydantic", "torch", "tqdm", "IPython"}


def run(code: str) -> list[str]:
    """Run code in a new interpreter; give the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    return done.stdout.splitlines()


def test_nothing_heavy_is_imported() -> None:
    (modules,) = run("import npu_jupyter, sys, json; print(json.dumps(list(sys.modules)))")
    loaded = set(json.loads(modules))
    assert "npu_jupyter" in loaded
    assert not loaded & _HEAVY


def test_the_client_needs_no_pandas_and_no_engine() -> None:
    code = "import npu_jupyter as npu, sys, json; npu.connect; print(json.dumps(list(sys.modules)))"
    loaded = set(json.loads(run(code)[0]))
    assert "npu_jupyter.client.client" in loaded
    assert not loaded & {"numpy", "openvino", "pandas", "torch", "sqlalchemy", "tornado"}


def test_names_are_completed_and_others_are_told_of() -> None:
    names, error = run(
        "import npu_jupyter as npu\nprint(sorted(set(npu.__all__) - set(dir(npu))))\n"
        "try:\n npu.conect\nexcept AttributeError as error:\n print(error)"
    )
    assert names == "[]"
    assert error == "module 'npu_jupyter' has no attribute 'conect'"


@pytest.mark.parametrize(
    "order",
    [
        "import pandas, npu_jupyter",
        "import npu_jupyter, pandas",
        "import npu_jupyter, npu_jupyter; from pandas import DataFrame; import pandas",
        "import npu_jupyter, importlib; pandas = importlib.import_module('pandas')",
    ],
)
def test_pandas_has_the_accessor_whichever_is_imported_first(order: str) -> None:
    printed = run(
        f"{order}\nimport sys\nfrom npu_jupyter import accessors\n"
        "print(hasattr(pandas.Series(dtype='object'), 'npu'), hasattr(pandas.DataFrame(), 'npu'))\n"
        "print([f for f in sys.meta_path if type(f).__module__ == accessors.__name__])\n"
        "print(type(pandas.__spec__.loader).__name__, pandas.__loader__ is pandas.__spec__.loader)"
    )
    assert printed == ["True True", "[]", "SourceFileLoader True"]


def test_other_modules_are_found_as_ever_and_a_missing_pandas_is_missing() -> None:
    printed = run(
        "import npu_jupyter, sys\nimport colorsys\nprint(colorsys.__name__)\n"
        "sys.path = []\n"
        "try:\n import pandas\nexcept ModuleNotFoundError as error:\n print(error)"
    )
    assert printed == ["colorsys", "No module named 'pandas'"]
