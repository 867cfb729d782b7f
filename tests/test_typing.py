"""
What the types promise holds at run time too.

The types themselves are checked by mypy and basedpyright, in the session `types` of nox: see tests/typing.
"""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path

ACCEPTED = Path(__file__).parent / "typing" / "accepted.py"


def test_what_type_checkers_accept_can_be_registered() -> None:
    names = runpy.run_path(str(ACCEPTED))

    assert len(names["merged"]) == len(names["registry"]) > 0


def test_decorator_returns_the_very_function() -> None:
    names = runpy.run_path(str(ACCEPTED))

    assert inspect.isfunction(names["_add"])
    assert names["registry"].find("+").function is names["_add"]
