"""Repositories of the Hugging Face hub, or of the mirror that HF_ENDPOINT names."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from npu_jupyter.errors import InvalidModel, InvalidRequest, NotFound, NpuError, PermissionDenied
from npu_jupyter.registry.convert import require_converter
from npu_jupyter.registry.disk import ensure_space
from npu_jupyter.registry.folder import MODEL_XML, Form
from npu_jupyter.registry.names import name_from_stem
from npu_jupyter.registry.records import PullProgress
from npu_jupyter.registry.sources.download import RemoteFile, download
from npu_jupyter.registry.sources.source import Found, Source, Workspace

_SOURCE = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?P<file>(?:/[^/@]+)+)?(?:@(?P<revision>[\w./-]+))?", re.ASCII
)
_SMALL_FILES = {".json", ".txt", ".model", ".jinja", ".md"}
_SUBFOLDERS = {"1_Pooling"}
_PART_OF_MANY = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a repository holds at one commit."""

    commit: str
    files: dict[str, Any]
    """The hub's own description of each file, by its path."""

    def named(self, suffix: str) -> list[str]:
        """List the files whose name ends so."""
        return sorted(name for name in self.files if name.lower().endswith(suffix))


class HubSource(Source):
    """A repository, or one GGUF file of it."""

    def __init__(self, repo: str, file: str | None, revision: str | None) -> None:
        """Name a repository, perhaps a file in it, and perhaps a branch, tag or commit."""
        self.repo = repo
        self.file = file
        self.revision = revision
        self.text = f"hf:{repo}" + (f"/{file}" if file else "")
        self.text += f"@{revision}" if revision else ""
        self._found: Found | None = None
        self._files: list[RemoteFile] = []

    @classmethod
    def parse(cls, text: str) -> HubSource:
        """Read ``org/name[/file.gguf][@revision]``; raise ValueError for anything else."""
        match = _SOURCE.fullmatch(text)
        if match is None or ".." in text:
            raise ValueError(f"{text!r} is no repository of the form org/name")
        file = match["file"].removeprefix("/") if match["file"] else None
        if file and not file.lower().endswith(".gguf"):
            raise ValueError("only a .gguf file can be named inside a repository")
        return cls(match["repo"], file, match["revision"])

    def peek(self, workspace: Workspace) -> Found:
        """Ask the hub what is there at which commit."""
        workspace.report(PullProgress("find", message=self.text))
        listing = self._list()
        form, names = self._choose(listing)
        if form is Form.HUGGING_FACE:
            require_converter()
        folder = self._folder(workspace) / listing.commit
        self._files = [self._remote(name, listing) for name in names]
        content = "\n".join([self.repo, listing.commit, *names])
        stem = PurePosixPath(names[0]).stem if form is Form.GGUF else self.repo.partition("/")[2]
        self._found = Found(
            form=form,
            path=folder / names[0] if form is Form.GGUF else folder,
            source=self.text,
            name=name_from_stem(stem) or self.repo.lower(),
            fingerprint=hashlib.sha256(content.encode()).hexdigest(),
            ours=True,
        )
        return self._found

    def fetch(self, workspace: Workspace) -> Found:
        """Download what `peek` found, going on where an earlier try broke off."""
        found = self._found or self.peek(workspace)
        folder = found.path.parent if found.form is Form.GGUF else found.path
        folder.mkdir(parents=True, exist_ok=True)
        missing = sum(file.missing_bytes(folder) for file in self._files)
        ensure_space(folder, missing, f"Downloading {self.text}")
        download(self._files, folder, workspace)
        return found

    def forget(self, workspace: Workspace) -> None:
        """Remove the downloaded files, of which the registry has its own by now."""
        shutil.rmtree(self._folder(workspace), ignore_errors=True)

    def _folder(self, workspace: Workspace) -> Path:
        return workspace.downloads / "hub" / self.repo.replace("/", "--")

    def _list(self) -> _Listing:
        import httpx
        from huggingface_hub import HfApi, errors

        try:
            info = HfApi().model_info(self.repo, revision=self.revision, files_metadata=True)
        except errors.GatedRepoError as error:
            raise PermissionDenied(
                f"{self.repo} is gated. Accept its terms on the hub, then set HF_TOKEN to a token "
                "of yours."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise NotFound(f"{self.repo} has no revision {self.revision!r}.") from error
        except errors.RepositoryNotFoundError as error:
            raise NotFound(
                f"The hub has no repository {self.repo}, or it is private: then set HF_TOKEN."
            ) from error
        except (httpx.HTTPError, OSError, ValueError) as error:
            raise NpuError(
                f"The hub cannot be asked for {self.repo}: {error}. Check the network, or set "
                "HF_ENDPOINT to a mirror."
            ) from error
        files = {item.rfilename: item for item in info.siblings or []}
        return _Listing(info.sha or "main", files)

    def _choose(self, listing: _Listing) -> tuple[Form, list[str]]:
        """Decide which files are the model: nothing is fetched in two forms."""
        ggufs = listing.named(".gguf")
        if self.file is not None:
            if self.file not in ggufs:
                raise NotFound(f"{self.repo} has no file {self.file}. {self._offer(listing)}")
            if _PART_OF_MANY.search(self.file):
                raise InvalidModel(f"{self.file} is one part of a split file; join them first.")
            return Form.GGUF, [self.file]
        small = [name for name in listing.files if _is_small(name)]
        if MODEL_XML in listing.files:
            parts = [n for n in listing.files if "/" not in n and n.endswith((".xml", ".bin"))]
            return Form.OPENVINO, sorted(small + parts)
        weights = [name for name in listing.named(".safetensors") if "/" not in name]
        if weights and "config.json" in listing.files:
            # Some repositories carry the same weights once more, in their authors' own layout.
            named = [name for name in weights if name.startswith("model")]
            return Form.HUGGING_FACE, sorted(small + (named or weights))
        if len(ggufs) == 1:
            return Form.GGUF, ggufs
        if ggufs:
            raise InvalidRequest(self._offer(listing), param="source")
        raise InvalidModel(
            f"{self.repo} holds no model in a form that can be used: neither {MODEL_XML}, nor "
            "config.json with *.safetensors, nor a .gguf file."
        )

    def _offer(self, listing: _Listing) -> str:
        ggufs = listing.named(".gguf")
        if not ggufs:
            return f"Pull the repository itself: hf:{self.repo}"
        sizes = [f"  hf:{self.repo}/{n} ({listing.files[n].size / 1e9:.2f} GB)" for n in ggufs]
        return "Choose one of its GGUF files:\n" + "\n".join(sizes)

    def _remote(self, name: str, listing: _Listing) -> RemoteFile:
        from huggingface_hub import hf_hub_url

        parts = name.split("/")
        if any(part in {"", ".", ".."} or "\\" in part or ":" in part for part in parts):
            raise InvalidModel(f"{self.repo} holds a file with an unsafe name: {name!r}.")
        item = listing.files[name]
        return RemoteFile(
            # A GGUF file alone lies at the top, wherever the repository has it.
            path=parts[-1] if name.endswith(".gguf") else name,
            url=hf_hub_url(self.repo, name, revision=listing.commit),
            size=int(item.size or 0),
            sha256=item.lfs.sha256 if item.lfs else None,
        )


def _is_small(name: str) -> bool:
    path = PurePosixPath(name)
    folder = "" if str(path.parent) == "." else str(path.parent)
    return path.suffix in _SMALL_FILES and (not folder or folder in _SUBFOLDERS)
