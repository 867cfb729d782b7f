"""How the tests are handed out to the processes of pytest-xdist, and which of them a Python may leave to others."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    # Its queues and connections, of each step at once, are as many as RabbitMQ may have files.
    "rabbitmq": ["tests/jobs/test_rabbitmq_connection.py::", "::test_every_history_on_rabbitmq_is_that_of_the_model"],
    # Its executors take seconds to start: once, and not once per process.
    "futures": ["tests/backends/test_futures.py::"],
}
"""Tests that run in one process, one after the other, by what is in their names."""


class InGroups(LoadScopeScheduling):
    """
    Give each test to whoever is free, and a group to one process, from the beginning.

    Not `--dist=loadgroup`: with pytest 9.2 it loses its groups, and says nothing.
    """

    def _split_scope(self, nodeid: str) -> str:
        groups = (group for group, names in TOGETHER.items() if any(name in nodeid for name in names))
        return next(groups, nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> InGroups:
    return InGroups(config, log)  # type: ignore[arg-type]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark, before `-m` is looked at, what runs on one more event loop; and begin with what takes longest."""
    for item in items:
        if is_on_another_loop(item):
            item.add_marker("another_loop")
    items.sort(key=lambda item: item.get_closest_marker("once") is None)


def is_on_another_loop(item: pytest.Item) -> bool:
    """Tell whether the same test has run on the first of its event loops, too."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.indices.get("anyio_backend", 0) > 0
