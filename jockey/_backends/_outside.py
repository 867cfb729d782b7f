"""Calls that go on outside of the event loop, and how they come back to it."""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    import anyio

    from jockey._runtime import Runtime


interpreters_begin: Final = threading.Lock()
"""Held while an interpreter is being created."""


def stack_of(thread: threading.Thread) -> str:
    """Return where *thread* is now, as text; empty if it has ended, or if there are other interpreters."""
    # Python looks at the threads of all interpreters, and does not stop those of others meanwhile: it crashes.
    with interpreters_begin:
        frame = None if _has_interpreters() else sys._current_frames().get(thread.ident or 0)  # noqa: SLF001
    return "".join(traceback.format_stack(frame)) if frame else ""


def _has_interpreters() -> bool:
    module: Any = sys.modules.get("_interpreters")
    return module is not None and len(module.list_all()) > 1


class OutsideCall(Protocol):
    """A call that cannot be stopped: it may go on although its job has ended."""

    ended: anyio.Event
    """Set, in the event loop, when the call has really ended."""

    @property
    def where(self) -> str:
        """What it goes on in, for messages: "a thread"."""
        ...

    @property
    def fate(self) -> str:
        """What becomes of it when nobody waits for it any more, for messages."""
        ...

    def stack(self) -> str:
        """Return where it is now, as text; empty where that is not known."""
        ...


class Returns:
    """
    The way back into the event loop: one wake-up serves all the calls that end until the loop looks.

    Args:
        runtime: The event loop.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._ended: deque[OutsideCall] = deque()
        self._is_collecting = False

    def expect(self) -> None:
        """Learn, in the event loop, that one more call is on its way."""
        self._runtime.note_outside(1)

    def add(self, call: OutsideCall) -> None:
        """
        Have the end of *call* told in the event loop; from whatever thread.

        Raises:
            RuntimeError: The loop has ended.
        """
        # A call that ends while the loop begins to look may wake it once more for nothing, but is never overlooked: it
        # is in the deque before the flag is read, and the loop takes the flag down before it empties the deque.
        self._ended.append(call)
        if not self._is_collecting:
            self._is_collecting = True
            self._runtime.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        self._is_collecting = False
        while self._ended:
            self._ended.popleft().ended.set()
            self._runtime.note_outside(-1)
