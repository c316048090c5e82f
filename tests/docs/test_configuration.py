"""The configuration page says what the settings' own help says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from traitlets.config import Configurable

from npu_jupyter.app import NpuApp

ROOT = Path(__file__).parents[2]
_SCRIPT = runpy.run_path(str(ROOT / "docs" / "write_configuration.py"))
_PAGE = (ROOT / "docs" / "configuration.md").read_text("utf-8")
_CLASSES: dict[str, type[Configurable]] = {cls.__name__: cls for cls in _SCRIPT["CLASSES"]}
_SETTING = re.compile(rf"\b({'|'.join(_CLASSES)})\.([a-z_]+)\b")


def test_the_page_is_as_the_settings_are() -> None:
    assert _SCRIPT["written"](_PAGE) == _PAGE, "run: python docs/write_configuration.py"


def test_every_class_that_can_be_configured_has_its_table() -> None:
    ours = {cls for cls in NpuApp.classes if cls.class_own_traits(config=True)} | {NpuApp}
    assert set(_SCRIPT["tables_in"](_PAGE)) == {cls.__name__ for cls in ours} == set(_CLASSES)


def test_settings_of_base_classes_are_told_of() -> None:
    assert "`Registry.data_dir`" in _PAGE


def test_settings_named_anywhere_exist() -> None:
    lost = []
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name, trait in _SETTING.findall(page.read_text("utf-8")):
            if trait not in _CLASSES[name].class_trait_names(config=True):
                lost.append(f"{page.name}: {name}.{trait}")
    assert not lost
