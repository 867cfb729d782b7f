"""The process of one cell: `python -m tests.comparison.cell LIBRARY ROW [ITEMS]` prints the answer, a line of JSON."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from importlib import metadata
from pathlib import Path

from tests.comparison.library import Library, NotOfferedError
from tests.comparison.rows import ROWS


def main() -> None:
    """Check the cell, and end with all that has been started."""
    name, row, *rest = sys.argv[1:]
    # What libraries print must not get between our answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = {"text": "not installed"}
    try:
        library: Library = importlib.import_module(f"tests.comparison.libraries.{name}").LIBRARY
        answer = {"version": _version(library), **_answer(library, row, [int(number) for number in rest])}
    except ModuleNotFoundError as error:
        answer["why"] = str(error)
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    # Some libraries would wait for work that never ends. What tidies up after others, such as joblib's tracker of
    # resources, does not mind this signal. We are the leader of a group, or else this fails.
    os.killpg(os.getpid(), signal.SIGTERM)


def _answer(library: Library, row: str, arguments: list[int]) -> dict[str, str]:
    why = "checked"
    try:
        holds = ROWS[row].check(library, Path.cwd(), *arguments)
    except NotOfferedError as error:
        holds, why = False, str(error)
    except (ModuleNotFoundError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever they raise, it is not what the row promises
        holds, why = False, f"{type(error).__name__}: {error}"
    if isinstance(holds, str):
        return {"text": "yes" if holds.startswith("yes") else "no", "why": holds}
    return {"text": library.ways.get(row, "yes") if holds else "no", "why": "" if holds else why}


def _version(library: Library) -> str:
    return metadata.version(library.distribution) if library.distribution else ""


if __name__ == "__main__":
    main()
