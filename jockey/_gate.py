"""Code that waits until a condition holds."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable


class Gates:
    """
    How many wait at several gates together: one number to look at in the hot path.

    Attributes:
        waiting: How many.
    """

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting = 0


class Gate:
    """
    Lets pass those who wait, first come, first served, while it is open.

    Args:
        gates: Counts those who wait.
        is_open: The condition.
        on_pass:
            Called for each one who passes, at once, so that the condition can count who has passed before that one
            gets to run.
        undo: Called when one who has passed was cancelled before it got to run.
    """

    def __init__(
        self,
        gates: Gates,
        is_open: Callable[[], bool],
        on_pass: Callable[[], object] = lambda: None,
        undo: Callable[[], object] = lambda: None,
    ) -> None:
        self._gates = gates
        self._is_open = is_open
        self._on_pass = on_pass
        self._undo = undo
        self._waiting: deque[anyio.Event] = deque()

    def poke(self) -> None:
        """Look again whether the condition holds."""
        while self._waiting and self._is_open():
            self._on_pass()
            self._waiting.popleft().set()
            self._gates.waiting -= 1

    async def wait(self) -> None:
        """Return when it is this caller's turn to pass."""
        if not self._waiting and self._is_open():
            self._on_pass()
            return
        turn = anyio.Event()
        self._waiting.append(turn)
        self._gates.waiting += 1
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self._undo()
                self.poke()
            else:
                self._waiting.remove(turn)
                self._gates.waiting -= 1
            raise
