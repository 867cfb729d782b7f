"""Every Python example is run: those of the README and of the documentation, and the doctests of the package."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import jockey

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]
MODULES = ["jockey", *(module.name for module in pkgutil.walk_packages(jockey.__path__, "jockey."))]

FENCE = re.compile(r"^ *(?P<fence>`{3,}|~{3,}) *(?P<info>[^`]*)$")
PYTHON = "python"
OUTPUT = "text output"


class Block(NamedTuple):
    """A fenced block of a page."""

    info: str
    first_line: int
    """The number of the line after the fence, from 0."""
    lines: list[str]


def blocks(page: str) -> Iterator[Block]:
    lines = page.splitlines()
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        number += 1
        if opening is None:
            continue
        first = number
        while lines[number].strip() != opening["fence"]:
            number += 1
        yield Block(opening["info"].strip(), first, lines[first:number])
        number += 1


def program(page: str) -> str:
    """Return the Python of all blocks, each line where it stands on the page, so that a traceback tells its line."""
    lines = [""] * len(page.splitlines())
    for block in blocks(page):
        if block.info == PYTHON and block.lines:
            lines[block.first_line : block.first_line + len(block.lines)] = dedented(block.lines)
    return "\n".join(lines)


def dedented(lines: list[str]) -> list[str]:
    return textwrap.dedent("\n".join(lines)).split("\n")


def output(page: str) -> str:
    return "".join(f"{line}\n" for block in blocks(page) if block.info == OUTPUT for line in block.lines)


def title(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.ends
@pytest.mark.parametrize("page", [page for page in PAGES if program(page.read_text("utf-8")).strip()], ids=title)
def test_examples_of_a_page_run(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """As one program in a file of its own: so worker processes can import what it sends them."""
    text = page.read_text("utf-8")
    if "aio_pika" in program(text):
        request.getfixturevalue("amqp_url")

    ran = run_script(program(text), tmp_path / f"page_{re.sub(r'[^a-z]', '_', page.stem.lower())}.py")

    assert ran.returncode == 0, ran.stderr
    if expected := output(text):
        assert is_like(expected, ran.stdout), f"The page says:\n{expected}\nbut its program prints:\n{ran.stdout}"


def run_script(source: str, path: Path) -> subprocess.CompletedProcess[str]:
    path.write_text(source, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        check=False,
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
    )


def is_like(expected: str, printed: str) -> bool:
    """Compare as doctest does: `...` stands for anything."""
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)


@pytest.mark.once
@pytest.mark.parametrize("page", PAGES, ids=title)
def test_no_example_hides_from_being_run(page: Path) -> None:
    infos = [block.info for block in blocks(page.read_text("utf-8"))]

    # "py", "python3", "python title=..." or a directive would be highlighted, but not run.
    assert [info for info in infos if re.search(r"\bpy", info) and info != PYTHON] == []
    assert [info for info in infos if "output" in info and info != OUTPUT] == []


@pytest.mark.once
@pytest.mark.parametrize("page", PAGES, ids=title)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text("utf-8"))

    links = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", text)

    assert [link for link in links if not (page.parent / link).exists()] == []


def docstrings(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=False).find(importlib.import_module(module))
    return [docstring for docstring in found if docstring.docstring]


@pytest.mark.parametrize("module", MODULES)
def test_doctests_of_a_module_run(module: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []

    for docstring in docstrings(module):
        runner.run(docstring, out=report.append)

    assert runner.failures == 0, "".join(report)


@pytest.mark.ends
@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_of_a_module_run(module: str, tmp_path: Path) -> None:
    for docstring in docstrings(module):
        source = program(inspect.cleandoc(docstring.docstring))
        ran = run_script(source, tmp_path / "example_of_a_docstring.py") if source.strip() else None
        assert ran is None or ran.returncode == 0, f"{docstring.name}: {ran.stderr}"


@pytest.mark.once
@pytest.mark.parametrize("module", MODULES)
def test_no_example_in_a_docstring_hides_from_being_run(module: str) -> None:
    for docstring in docstrings(module):
        infos = {block.info for block in blocks(inspect.cleandoc(docstring.docstring))}
        assert infos <= {PYTHON}, docstring.name
        assert "code-block" not in docstring.docstring, docstring.name


PAGE = """\
Prose.
```python
x = 1
```
- A list:
   ```python
   if x:
       print(x)
   ```
```text output
1
...
```
"""


def test_program_keeps_the_lines_of_its_page() -> None:
    assert program(PAGE) == "\n\nx = 1\n\n\n\nif x:\n    print(x)\n\n\n\n\n"
    assert output(PAGE) == "1\n...\n"


def test_output_may_leave_something_out() -> None:
    assert is_like("1\n...\n3\n", "1\n2\n3\n")
    assert not is_like("1\n...\n3\n", "1\n2\n")
