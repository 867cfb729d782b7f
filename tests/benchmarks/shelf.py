"""Where the peers are installed: a folder for each in the user's cache, outside of environment and repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def folder(name: str, *requirements: str, install: bool) -> Path:
    """
    Return the folder to import the peer from, whether it exists or not.

    Args:
        name: Of the folder.
        requirements: What pip is to install into it.
        install: Whether to do so if the folder does not exist. A failure is told on standard error, nothing more.
    """
    path = _cache() / f"{sys.implementation.cache_tag}" / name
    if install and not path.exists():
        _install(path, requirements)
    return path


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jockey-benchmarks"


def _install(path: Path, requirements: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when complete: an interrupted installation must not be taken for one that worked.
    with tempfile.TemporaryDirectory(dir=path.parent) as unfinished:
        target = Path(unfinished) / "target"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), *requirements]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0:
            shutil.move(target, path)
