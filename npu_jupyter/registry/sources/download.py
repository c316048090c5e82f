"""Download files over HTTP, going on where an earlier try broke off.

huggingface_hub's own download begins a broken file anew (since 1.19), which on a slow line
means never to finish a large one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from npu_jupyter.errors import InvalidModel, NpuError, PermissionDenied
from npu_jupyter.registry.incoming import PullCancelled
from npu_jupyter.registry.records import PullProgress
from npu_jupyter.registry.sources.source import Workspace, digest

if TYPE_CHECKING:
    import httpx

_ATTEMPTS = 5
_TIMEOUT_S = 30.0
_FIRST_PAUSE_S = 0.5
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch, and what it must turn out to be."""

    path: str
    url: str
    size: int
    sha256: str | None

    def missing_bytes(self, folder: Path) -> int:
        """Count what is still to be fetched."""
        if (folder / self.path).is_file():
            return 0
        part = self.part(folder)
        return self.size - (part.stat().st_size if part.is_file() else 0)

    def part(self, folder: Path) -> Path:
        """Name the file that holds what has come so far."""
        return folder / f"{self.path}.part"


def download(files: list[RemoteFile], folder: Path, workspace: Workspace) -> None:
    """Fetch all files into `folder`, one after the other; each is whole or not there."""
    import httpx
    from huggingface_hub import get_token

    total = sum(file.size for file in files)
    done = total - sum(file.missing_bytes(folder) for file in files)
    token = get_token()
    # Sent to the hub alone: the client drops it when it is sent on to another host.
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(headers=headers, follow_redirects=True, timeout=_TIMEOUT_S) as client:
        for file in files:
            target = folder / file.path
            if target.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)

            def came(count: int, name: str = file.path) -> None:
                nonlocal done
                done += count
                workspace.report(PullProgress("download", done, total, name))

            _fetch(client, file, file.part(folder), workspace, came)
            _verify(file, file.part(folder), workspace)
            file.part(folder).replace(target)


def _fetch(
    client: httpx.Client,
    file: RemoteFile,
    part: Path,
    workspace: Workspace,
    came: Callable[[int], None],
) -> None:
    """Fetch what `part` lacks; a broken line is taken up again a few times."""
    import httpx

    pause = _FIRST_PAUSE_S
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _fetch_rest(client, file, part, workspace, came)
        except httpx.TransportError as error:
            if attempt == _ATTEMPTS:
                raise NpuError(
                    f"The download of {file.path} broke off {_ATTEMPTS} times, last with: "
                    f"{error!r}. Pull it again: it goes on where it was."
                ) from error
            if workspace.cancelled.wait(pause):
                raise PullCancelled("The download was stopped.") from None
            pause *= 2
        else:
            return


def _fetch_rest(
    client: httpx.Client,
    file: RemoteFile,
    part: Path,
    workspace: Workspace,
    came: Callable[[int], None],
) -> None:
    import httpx

    start = part.stat().st_size if part.is_file() else 0
    if start == file.size and start:
        return
    headers = {"Range": f"bytes={start}-"} if start else {}
    with client.stream("GET", file.url, headers=headers) as response:
        _raise_for_status(response, file)
        if start and response.status_code != HTTPStatus.PARTIAL_CONTENT:
            came(-start)
            start = 0
        with part.open("ab" if start else "wb") as out:
            for chunk in response.iter_bytes(_CHUNK_BYTES):
                if workspace.cancelled.is_set():
                    raise PullCancelled(
                        "The download was stopped. The next pull goes on from here."
                    )
                out.write(chunk)
                came(len(chunk))
    if part.stat().st_size < file.size:
        raise httpx.ReadError("the connection was closed early")


def _raise_for_status(response: httpx.Response, file: RemoteFile) -> None:
    if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise PermissionDenied(
            f"The hub refuses {file.path}. Accept the model's terms there, and set HF_TOKEN."
        )
    if response.is_server_error:
        import httpx

        raise httpx.ReadError(f"the server answered {response.status_code}")
    if not response.is_success:
        raise NpuError(f"The hub answered {response.status_code} for {file.path}.")


def _verify(file: RemoteFile, part: Path, workspace: Workspace) -> None:
    """Compare size and digest with what the repository says; a wrong file is fetched anew."""
    size = part.stat().st_size
    if size != file.size or (file.sha256 and digest(part, workspace.cancelled) != file.sha256):
        part.unlink()
        raise InvalidModel(
            f"{file.path} came damaged ({size} of {file.size} bytes, or a wrong SHA-256). "
            "Pull it again."
        )
