"""After each test of a map nothing is left: no process, no thread (see tests/conftest.py), no open descriptor."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator

import anyio
import pytest

from tests.backends.process_observer import children, descriptors, others
from tests.conftest import backends


@pytest.fixture(scope="session", autouse=True)
def _what_stays_is_there() -> None:
    """Run each kind of event loop once: libuv makes a pipe that it keeps."""
    for name, options in backends():
        anyio.run(anyio.sleep, 0, backend=name, backend_options=options)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    before = children(), descriptors()
    others.clear()
    others.update(before[0])
    yield
    if left_since(before) != NOTHING:
        gc.collect()  # what is closed when it is collected
        assert left_since(before) == NOTHING


NOTHING: tuple[set[int], Counter[str]] = set(), Counter()


def left_since(before: tuple[set[int], list[str]]) -> tuple[set[int], Counter[str]]:
    """Return what there is more than before; what others have left behind may go in the meantime."""
    return children() - before[0], Counter(descriptors()) - Counter(before[1])
