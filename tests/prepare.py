"""Fetch what the tests need that pip does not bring: a browser, and OpenAI's JavaScript client.

On a machine of one's own, what cannot be had is named and the tests that need it are skipped,
with the reason in pytest's summary; with CI=true it is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_JS_CLIENT = Path(__file__).parent / "e2e" / "js"
_NPM_CACHE = Path(__file__).parents[1] / ".cache" / "npm"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "msedge")


def _run(*command: str) -> bool:
    """Run a command and tell whether it succeeded."""
    return subprocess.run(command, check=False).returncode == 0


def find_browser() -> str | None:
    """Return the path of a browser of Chromium's family."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def _have_browser() -> bool:
    """Find a browser, or install Debian's where that is allowed."""
    if find_browser():
        return True
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not (is_root and shutil.which("apt-get")):
        return False
    return _run("apt-get", "update", "-qq") and _run(
        "apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"
    )


def _have_js_client() -> bool:
    """Install the JavaScript client beside the script that tests it, once."""
    if (_JS_CLIENT / "node_modules" / "openai").exists():
        return True
    npm = shutil.which("npm")
    options = ["--no-audit", "--no-fund", "--prefix", str(_JS_CLIENT), "--cache", str(_NPM_CACHE)]
    return npm is not None and _run(npm, "ci", *options)


def main() -> int:
    """Fetch everything; return the exit status."""
    missing = []
    if not _have_browser():
        missing.append(f"a browser on PATH ({', '.join(_BROWSERS)})")
    if not _have_js_client():
        missing.append("OpenAI's JavaScript client (npm)")
    for what in missing:
        print(f"Not there, so what needs it will not be tested: {what}", file=sys.stderr)
    return 1 if missing and os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
