"""examples/math.py prints what is documented, however it is started and on every event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.examples.program import EXAMPLES, ROOT, output, variant

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTED = [
    "SUCCESS: 4 + 5 = 9",
    "SUCCESS: 3 + 0 = 3",
    "SUCCESS: 3 / 2 = 1.5",
    "FAILURE: 3 / 0 caused ZeroDivisionError('division by zero')",
    "SUCCESS: 3 - 2 = 1.5",
]


def check(lines: list[str]) -> None:
    """Compare with what is documented."""
    assert sorted(lines) == sorted(DOCUMENTED)
    # The last one sleeps for a second; only a machine on which a process takes longer to start prints it earlier.
    assert [line for line in lines if " - " not in line] == DOCUMENTED[:-1]


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        pytest.param(["examples/math.py"], ROOT, id="as documented"),
        pytest.param(["math.py"], EXAMPLES, id="where it hides the math of the standard library"),
        pytest.param(["-P", "examples/math.py"], ROOT, id="with a safe path"),
    ],
)
def test_prints_the_documented_lines_when_started(arguments: list[str], folder: Path) -> None:
    check(output(*arguments, folder=folder))


def test_scripts_of_the_folder_get_the_math_of_the_standard_library() -> None:
    script = "import sys, math, asyncio; print(math.__name__, math.pi, repr(sys.path[0]))"

    assert output("-c", script, folder=EXAMPLES) == ["math 3.141592653589793 ''"]


@pytest.mark.parametrize(
    ("module", "run"), [("trio", "trio.run(main)"), ("uvloop", "uvloop.run(main())")], ids=["trio", "uvloop"]
)
def test_prints_the_same_lines_on(module: str, run: str, tmp_path: Path) -> None:
    pytest.importorskip(module)
    changes = {
        "import jockey": f"import anyio, jockey, {module}",
        "asyncio.sleep(1)": "anyio.sleep(1)",
        "asyncio.run(main())": run,
    }

    check(output(variant("math.py", changes, tmp_path)))
