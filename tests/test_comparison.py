"""The table that sets `jockey.map` next to other libraries: its rows are those of the program, its column is true."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.comparison.command import COLUMNS, check
from tests.comparison.rows import ROWS

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "how-to" / "parallel-computing.md"


def table() -> list[list[str]]:
    """Return the cells of all lines of the table, its head first."""
    section = PAGE.read_text("utf-8").partition("## Next to other libraries\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def test_table_has_the_rows_and_columns_of_the_program() -> None:
    head, *rows = table()

    assert head == ["", *COLUMNS.values()]
    assert [row[0] for row in rows] == [row.title for row in ROWS.values()]
    assert {len(row) for row in rows} == {len(head)}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.timeout(600)  # on a busy machine all these processes take their time
def test_column_of_jockey_is_true() -> None:
    with ThreadPoolExecutor(4) as pool:
        cells = dict(zip(ROWS, pool.map(lambda row: check("jockey_map", row), ROWS), strict=True))

    said = {row: cells[1] for row, cells in zip(ROWS, table()[1:], strict=True)}
    assert {row: cell.text for row, cell in cells.items()} == said, cells


def test_library_that_is_not_installed_is_told_from_one_that_cannot() -> None:
    assert check("a_library_that_nobody_has", "lazy").text == "not installed"


def test_command_prints_rows_as_the_table_has_them() -> None:
    command = [sys.executable, str(ROOT / "tests" / "comparison"), "--library", "stdlib_futures", "--row", "caching"]

    printed = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    assert printed.splitlines()[:3] == [
        "|  | `concurrent.futures` |",
        "|---|---|",
        "| remembers results from earlier runs | no |",
    ]
