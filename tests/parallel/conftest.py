"""After each test of a map nothing is left: no process, no thread (see tests/conftest.py), no open descriptor."""

from __future__ import annotations

import gc
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
    if (children(), descriptors()) != before:
        gc.collect()  # what is closed when it is collected
        assert (children(), descriptors()) == before
