"""Who follows the tutorial step by step, and runs the file after each one, sees what it says."""

from __future__ import annotations

from pathlib import Path

from tests.test_documents import OUTPUT, PYTHON, ROOT, blocks, run_script

PAGE = ROOT / "docs" / "tutorial" / "job-queue.md"


def steps() -> list[tuple[str, str]]:
    """Return the file as it grows, and what is told of its output."""
    found: list[tuple[str, str]] = []
    program = told = ""
    for block in blocks(PAGE.read_text("utf-8")):
        text = "".join(f"{line}\n" for line in block.lines)
        if block.info == PYTHON:
            program += text
            found.append((program, told))
        elif block.info == OUTPUT:
            told += text
            found[-1] = (program, told)
    return found


def test_each_step_prints_what_the_tutorial_says(tmp_path: Path) -> None:
    for number, (program, told) in enumerate(steps()):
        ran = run_script(program, tmp_path / "shop.py")

        # As the page says: the first run of a worker finds the job of the step before, too.
        expected = told.replace("1 succeeded", "2 succeeded") if number == 2 else told
        assert (ran.returncode, ran.stdout) == (0, expected), ran.stderr
    assert number == 5
