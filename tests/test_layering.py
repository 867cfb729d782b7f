"""Dependencies point downwards only: the house, read from its imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jockey"

# The house from the ground up: floors, and on each floor its modules. What a module imports stands before it. For
# annotations alone, those of one floor may know each other. The name of a package stands for all that is in it.
HOUSE = {
    "what users say": [
        "_types",
        "_options",
        "_errors",
        "_validation",
        "_outcome",
        "_adapter",
        "_middleware",
        "_limits",
        "_handler",
        "_registry",
    ],
    "which job starts next": ["_runner", "_route", "_job", "_line", "_caps", "_groups", "_scheduler"],
    "what it needs to run": ["_runtime", "_gate", "_pace", "_pulse", "_watchdog", "_backends"],
    "how it runs": [
        "_execution",
        "_crew",
        "_work",
        "_nesting",
        "_routing",
        "_statistics",
        "_engine",
        "_threadsafe",
        "_lifetime",
    ],
    "what users hold": ["_parallel", "_running", "_executor", "__init__", "testing"],
    "a layer of its own, which nothing else knows": ["jobs"],
    "the command": ["__main__"],
}
PARTS = [part for parts in HOUSE.values() for part in parts]
PLACE_OF = {part: place for place, part in enumerate(PARTS)}
FLOOR_OF = {part: floor for floor, parts in enumerate(HOUSE.values()) for part in parts}

EVERYWHERE = {"anyio", "typing_extensions"}
# Trio is there when the user has chosen it, never because of us.
TRIO = {"_runtime", "testing._trio"}
TRIO_AT_THE_TOP = {"testing._trio"}
# Extras, and the modules (or packages) that each is for; they are imported only when somebody asks for what they do.
EXTRAS = {
    "click": "jobs._cli",
    "rich": "_parallel._bar jobs._cli",
    "watchfiles": "jobs._cli._supervisor",
    "msgspec": "jobs",
    "aiormq": "jobs.brokers.rabbitmq_client",
    "pamqp": "jobs.brokers.rabbitmq_client",
    "yarl": "jobs.brokers.rabbitmq_client",
}


class Import(NamedTuple):
    """One imported module, and how it is imported."""

    module: str
    is_type_only: bool
    is_lazy: bool


def modules() -> dict[str, Path]:
    """Return all modules of the package by their names below it."""
    return {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[Import]:
    yield from imports_below(ast.parse(path.read_text(encoding="utf-8")), is_type_only=False, is_lazy=False)


def imports_below(node: ast.AST, *, is_type_only: bool, is_lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for module in imported_modules(child):
            yield Import(module, is_type_only, is_lazy)
        yield from imports_below(
            child,
            is_type_only=is_type_only or (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"),
            is_lazy=is_lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef),
        )


def imported_modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0 and node.module, "imports are absolute: they tell where they go"  # noqa: PT018
    if node.module in {"jockey", "jockey._backends"}:
        # `from jockey import _limits` is about the module, not about the package.
        return [
            f"{node.module}.{alias.name}" if is_module(node.module, alias.name) else node.module for alias in node.names
        ]
    return [node.module]


def is_module(package: str, name: str) -> bool:
    directory = ROOT / package.replace(".", "/")
    return (directory / f"{name}.py").exists() or (directory / name).is_dir()


def part_of(module: str) -> str:
    """Return the part of the house that *module*, named from outside or from inside the package, belongs to."""
    inside = module.removeprefix("jockey").lstrip(".")
    return inside.partition(".")[0] or "__init__"


def points_down(part: str, imported: Import) -> bool:
    other = part_of(imported.module)
    if imported.is_type_only:
        return FLOOR_OF[other] <= FLOOR_OF[part]
    return PLACE_OF[other] < PLACE_OF[part]


def test_every_module_has_its_place() -> None:
    assert {part_of(module) for module in modules()} == set(PARTS)
    assert len(PARTS) == len(set(PARTS))


@pytest.mark.once
@pytest.mark.parametrize("module", list(modules()))
def test_dependencies_point_downwards(module: str) -> None:
    part = part_of(module)

    ours = [imported for imported in imports(modules()[module]) if imported.module.partition(".")[0] == "jockey"]

    assert [imported for imported in ours if part_of(imported.module) != part and not points_down(part, imported)] == []


@pytest.mark.once
@pytest.mark.parametrize("module", list(modules()))
def test_nothing_foreign_is_imported(module: str) -> None:
    allowed = EVERYWHERE | {"jockey"} | sys.stdlib_module_names

    foreign = [imported for imported in imports(modules()[module]) if imported.module.partition(".")[0] not in allowed]

    for imported in foreign:
        if imported.module.partition(".")[0] in EXTRAS:
            homes = EXTRAS[imported.module.partition(".")[0]].split()
            assert f"{module}.".startswith(tuple(f"{home}." for home in homes))
            continue
        assert imported.module.partition(".")[0] == "trio"
        assert module in TRIO
        assert imported.is_lazy or imported.is_type_only or module in TRIO_AT_THE_TOP


def test_import_loads_nothing_foreign() -> None:
    """In a new process that nothing from outside influences; what its start-up has loaded does not count."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
before = set(sys.modules)
from jockey import *
print(*sorted({{name.partition('.')[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names))
"""

    loaded = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)

    # idna and sniffio may come with anyio.
    assert set(loaded.stdout.split()) - {"idna", "sniffio"} <= {"anyio", "jockey", "typing_extensions"}


def test_import_loads_nothing_that_is_not_asked_for() -> None:
    """A script that imports jockey is imported in each of its worker processes too."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import jockey
print(*sorted(name for name in sys.modules if name.partition('.')[0] in {{'anyio', 'asyncio', 'jockey'}}))
jockey.ExecuteIn
print(*sorted(name for name in sys.modules if name.partition('.')[0] == 'jockey'))
"""

    loaded = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)

    assert loaded.stdout.splitlines() == ["jockey", "jockey jockey._options"]
