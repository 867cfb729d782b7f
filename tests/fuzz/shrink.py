"""Find a smaller program that still fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from tests.fuzz.program import Program


def shrink(program: Program, fails: Callable[[Program], bool], *, tries: int = 2_000) -> Program:
    """Return a program that fails and of which no part can be left out; or the best after so many *tries*."""
    while True:
        for smaller in _smaller(program):
            tries -= 1
            if tries < 0:
                return program
            if smaller.handlers and fails(smaller):
                program = smaller
                break
        else:
            return program


def _smaller(thing: Any) -> Iterator[Any]:
    """Yield copies of *thing* that lack one part, the greatest parts first."""
    if isinstance(thing, tuple):
        for index in range(len(thing)):
            yield thing[:index] + thing[index + 1 :]
        for index, part in enumerate(thing):
            for smaller in _smaller(part):
                yield (*thing[:index], smaller, *thing[index + 1 :])
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        for one in dataclasses.fields(thing):
            value = getattr(thing, one.name)
            if one.default is not dataclasses.MISSING and value not in (one.default, ()):
                yield dataclasses.replace(thing, **{one.name: one.default})
            for smaller in _smaller(value):
                if smaller != () or one.name not in {"keys", "handlers"}:
                    yield dataclasses.replace(thing, **{one.name: smaller})
