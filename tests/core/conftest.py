"""Fixtures of the tests of the core."""

from __future__ import annotations

import pytest

from jockey import _runtime
from tests.core.story import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of all executors that the test starts; the timers of the event loop follow another one."""
    clock, current = Clock(), _runtime.current

    def runtime_with_clock() -> _runtime.Runtime:
        runtime = current()
        runtime.clock = clock
        return runtime

    monkeypatch.setattr(_runtime, "current", runtime_with_clock)
    return clock
