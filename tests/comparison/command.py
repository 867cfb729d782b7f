"""The command: runs one check for each cell, and prints the table in Markdown. Nothing is installed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.comparison.rows import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parents[2]

DEADLINE: Final = 600
"""Seconds after which a check is given up. That is no answer, but tells that something is wrong with the check."""

COLUMNS: Final = {
    "jockey_map": "`jockey.map`",
    "stdlib_futures": "`concurrent.futures`",
    "joblib_parallel": "joblib",
    "pebble_pool": "pebble",
    "dask_client": "dask",
}
"""The modules in the folder `libraries`, and what their columns are called."""

PRESENT: Final = {"jockey_map", "stdlib_futures"}
"""What has no version of its own: it is that of this checkout, or of Python."""


@dataclass(frozen=True)
class Cell:
    """What a check came to."""

    text: str
    """What the table says."""

    why: str = ""
    """What the check has told besides."""

    version: str = ""
    """That of the library."""


def main() -> None:
    """Print each row as soon as it is known."""
    options = _parser().parse_args()
    libraries, rows = options.library or list(COLUMNS), options.row or list(ROWS)
    print(line("", [COLUMNS[library] for library in libraries]))
    print("|---" * (len(libraries) + 1) + "|", flush=True)
    versions: dict[str, str] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in rows:
            cells = list(pool.map(lambda library: check(library, row, items=options.items), libraries))  # noqa: B023
            versions |= {library: cell.version for library, cell in zip(libraries, cells, strict=True)}
            print(line(ROWS[row].title, [cell.text for cell in cells]), flush=True)
            if options.why:
                _print_why(row, libraries, cells)
    python = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}"
    print("", ", ".join([python, *_named(versions)]), sep="\n")


def line(title: str, cells: Sequence[str]) -> str:
    """Return one line of the table."""
    return f"| {' | '.join([title, *cells])} |"


def check(library: str, row: str, *, items: int | None = None) -> Cell:
    """Run the check of one cell in a process of its own, and return when nothing is left of it."""
    arguments = [library, row, *([] if items is None else [str(items)])]
    with (
        tempfile.TemporaryDirectory(prefix="comparison", ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.comparison.cell", *arguments],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        try:
            # All that it starts writes to the same standard error: at the end of that, all have ended.
            answer, told = process.communicate(timeout=DEADLINE)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            answer, told = process.communicate()
    return Cell(**json.loads(answer)) if answer else Cell("?", told or f"no answer in {DEADLINE} s")


def _environment(folder: str) -> dict[str, str]:
    temporary = {"DASK_TEMPORARY_DIRECTORY": folder, "JOBLIB_TEMP_FOLDER": folder}
    return {**os.environ, **temporary, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TERM": "xterm"}


def _print_why(row: str, libraries: Sequence[str], cells: Sequence[Cell]) -> None:
    for library, cell in zip(libraries, cells, strict=True):
        if cell.why:
            print(f"{row}, {library}: {cell.why}", file=sys.stderr, flush=True)


def _named(versions: dict[str, str]) -> list[str]:
    return [
        f"{COLUMNS[library]} {version or '(not installed)'}"
        for library, version in versions.items()
        if library not in PRESENT
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tests/comparison", description="Compare jockey.map with its peers.")
    parser.add_argument("--row", action="append", choices=ROWS, help="check this row; may be repeated")
    parser.add_argument("--library", action="append", choices=COLUMNS, help="check this column; may be repeated")
    parser.add_argument("--items", type=int, metavar="N", help="items of the row about memory (100000)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="checks that run at once (2)")
    parser.add_argument("--why", action="store_true", help="tell on standard error what made each check fail")
    return parser
