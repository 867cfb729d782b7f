"""
What the places where handlers run can do and cannot.

Nothing is asked of a place that it cannot do: what cannot be stopped keeps its slot until it has ended by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from jockey._options import ExecuteIn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor


@dataclass(frozen=True)
class Capabilities:
    """What one place can do."""

    cancels_queued: bool
    """Whether what has been handed over and has not started can be taken back, and it is known whether that worked."""

    stops_running: bool
    """Whether the work can be stopped while it runs."""

    isolates_crashes: bool
    """Whether a crash of the interpreter harms no other job, and the next jobs run."""

    submit_options: Mapping[str, object] = field(default_factory=dict[str, object])
    """What `submit` must be told so that it does what the contract says."""


CONTRACT: Final = Capabilities(cancels_queued=True, stops_running=False, isolates_crashes=False)
"""Of every `concurrent.futures.Executor`, as far as is known: `Future.cancel` tells whether the work will not run."""

OF_PLACE: Final = {
    # Nothing is handed over to these before it starts.
    ExecuteIn.MAIN: Capabilities(cancels_queued=True, stops_running=True, isolates_crashes=False),
    ExecuteIn.THREAD: Capabilities(cancels_queued=True, stops_running=False, isolates_crashes=False),
    ExecuteIn.PROCESS: Capabilities(cancels_queued=True, stops_running=True, isolates_crashes=True),
    ExecuteIn.INTERPRETER: Capabilities(cancels_queued=True, stops_running=False, isolates_crashes=False),
}

OF_CLASS: Final = {
    # Its futures say that they are cancelled, although a worker may be computing them, and goes on. Its scheduler runs
    # the work of a dead worker again elsewhere, and gives up only on what seems to kill one worker after another. Left
    # to itself it takes two calls with equal arguments for one.
    "distributed.cfexecutor.ClientExecutor": Capabilities(
        cancels_queued=False, stops_running=False, isolates_crashes=True, submit_options={"pure": False}
    ),
}
"""By the full name of a class, since none of these libraries is imported here."""


def capabilities_of(executor: Executor) -> Capabilities:
    """Return what *executor* can do."""
    names = (f"{cls.__module__}.{cls.__qualname__}" for cls in type(executor).__mro__)
    return next((OF_CLASS[name] for name in names if name in OF_CLASS), CONTRACT)
