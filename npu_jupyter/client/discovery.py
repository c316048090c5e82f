"""Where a server may be: what the environment and Jupyter's runtime files say, best first."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

BARE_SERVICE = "http://127.0.0.1:8000"
"""Where ``jupyter npu`` listens unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address that may be a server's."""

    url: str
    """The base URL, without a slash at the end."""
    key: str | None
    source: str
    """Who named it, in words for the user."""


def candidates(environ: Mapping[str, str] = os.environ) -> list[Candidate]:
    """List the places where a server may be, each address once."""
    found: dict[str, Candidate] = {}
    for candidate in _all(environ):
        found.setdefault(candidate.url, candidate)
    return list(found.values())


def _all(environ: Mapping[str, str]) -> Iterator[Candidate]:
    if url := environ.get("NPU_JUPYTER_URL"):
        yield Candidate(base(url), _key_for(url, environ), "NPU_JUPYTER_URL")
    if url := environ.get("OPENAI_BASE_URL"):
        yield Candidate(base(url), environ.get("OPENAI_API_KEY"), "OPENAI_BASE_URL")
    if url := environ.get("JUPYTERHUB_SERVICE_URL"):
        key = environ.get("JUPYTERHUB_API_TOKEN")
        yield Candidate(base(url), key, "this user's server on JupyterHub")
    folder = _runtime_dir()
    parent = f"jpserver-{environ.get('JPY_PARENT_PID', '')}.json"
    if server := _of_file(folder / parent, "the Jupyter Server of this kernel"):
        yield server
    yield Candidate(BARE_SERVICE, None, "the bare service's own port")
    for path in sorted(folder.glob("jpserver-*.json"), key=_modified, reverse=True):
        if server := _of_file(path, f"a Jupyter Server of this user ({path.name})"):
            yield server


def base(url: str) -> str:
    """Give the base URL of an address, which may be that of ``/v1`` below it."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _key_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Find the key for NPU_JUPYTER_URL; the Hub's token goes to services of that Hub alone."""
    if key := environ.get("NPU_JUPYTER_KEY"):
        return key
    services = environ.get("JUPYTERHUB_BASE_URL", "").rstrip("/") + "/services/"
    if urlsplit(url).path.startswith(services):
        return environ.get("JUPYTERHUB_API_TOKEN")
    return None


def _runtime_dir() -> Path:
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _of_file(path: Path, source: str) -> Candidate | None:
    """Read what a Jupyter Server wrote about itself; None when it is none, or without a port."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        url, key = str(facts["url"]), facts.get("token") or None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Candidate(base(url), key, source) if url.startswith("http") else None
