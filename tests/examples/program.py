"""Run an example as a user would: as a program of its own, from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def output(*arguments: str | Path, folder: Path = ROOT, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the lines that Python prints when it is given these *arguments*; complaints of any kind are failures."""
    with start(*arguments, folder=folder, environment=environment) as program:
        printed, complaints = program.communicate()
    assert (program.returncode, but_for_slowness(complaints)) == (0, "")
    return printed.splitlines()


def rest_of(program: subprocess.Popen[str]) -> tuple[str, str]:
    """
    Return what it prints from now on, and its complaints, when it has ended.

    Not by `communicate`, which does not see what came together with a line that was read before.
    """
    assert program.stdout is not None
    assert program.stderr is not None
    with ThreadPoolExecutor(1) as pool:
        complaints = pool.submit(program.stderr.read)
        printed = program.stdout.read()
    program.wait()
    return printed, complaints.result()


def but_for_slowness(complaints: str) -> str:
    """Leave out what tells about the machine: on a busy one any step of a handler may take long."""
    return "".join(line for line in complaints.splitlines(keepends=True) if "kept the event loop busy" not in line)


def start(
    *arguments: str | Path, folder: Path = ROOT, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start Python with these *arguments*; warnings are errors."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=_environment() | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def variant(example: str, changes: Mapping[str, str], folder: Path) -> Path:
    """Write a copy of *example* in which each key of *changes*, which must be there once, is replaced by its value."""
    program = (EXAMPLES / example).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert program.count(old) == 1, f"{old!r} must be in {example} exactly once"
        program = program.replace(old, new)
    path = folder / f"variant_of_{example}"
    path.write_text(program, encoding="utf-8")
    return path


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    # jockey is found whether it is installed or not.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # Debug mode complains about all that is slow, which tells about the machine and not about the example.
    environment.pop("PYTHONASYNCIODEBUG", None)
    environment.pop("PYTHONDEVMODE", None)
    return environment
