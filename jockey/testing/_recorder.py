"""An adapter that remembers what happened to it, and fails or blocks where it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, cast, get_args, overload

from typing_extensions import TypeVar

from jockey._adapter import Adapter
from jockey._outcome import Cancelled, Failure, NoHandler, Success
from jockey._types import Key, Payload

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Hashable, Iterable, Mapping

    from jockey._errors import Cancellation
    from jockey._outcome import Outcome

# Nothing that a recorder is built from tells the type of the result, hence the default.
Result = TypeVar("Result", default=Any)
_Key = TypeVar("_Key")

Call = Literal["success", "failure", "cancel", "no_handler", "pulse"]
"""A callback as it stands in the history of a `Recorder`."""

Callback = Literal[
    "get_keys",
    "get_group",
    "get_payload",
    "on_success",
    "on_failure",
    "on_cancel",
    "on_no_handler",
    "on_pulse",
]
"""A method of an adapter that can be given a fault."""

_PLAIN = frozenset({"get_keys", "get_group"})


class Event(Protocol):
    """What a callback can be blocked with: the `Event` of anyio, asyncio or trio."""

    def wait(self) -> Awaitable[object]:
        """Return when somebody has set the event."""
        ...


class Recorder(Adapter[Payload, Key, Result], Generic[Payload, Key, Result]):
    """
    Be a message with one key, and record every callback.

    ```python
    import anyio
    import jockey
    from jockey.testing import Recorder

    registry = jockey.Registry[tuple[int, int], str, int]()


    @registry.add("+")
    def add(numbers: tuple[int, int]) -> int:
        return sum(numbers)


    async def main() -> None:
        message = Recorder("+", (3, 2))

        async with jockey.Executor(registry).run() as running:
            running.schedule(message)

        assert message.calls == ["success"]
        assert message.outcome == jockey.Success(5)


    anyio.run(main)
    ```

    Attributes:
        calls: The callbacks in the order in which they were called, pulses too. Looking for a handler and for the
            payload is not told here.
        completed: Those of them that ran to their end: neither raised nor were cut off.
        outcome: What the callback at the end was told; None before.
    """

    calls: list[Call]
    completed: list[Call]
    outcome: Outcome[Result] | None

    @overload
    def __init__(
        self: Recorder[None, _Key, Any],
        key: _Key,
        payload: None = None,
        *,
        keys: Iterable[_Key] = (),
        group: Hashable = None,
        faults: Mapping[Callback, BaseException | Event] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        key: Key,
        payload: Payload,
        *,
        keys: Iterable[Key] = (),
        group: Hashable = None,
        faults: Mapping[Callback, BaseException | Event] | None = None,
    ) -> None: ...

    def __init__(
        self,
        key: Any,
        payload: Any = None,
        *,
        keys: Iterable[Any] = (),
        group: Hashable = None,
        faults: Mapping[Callback, BaseException | Event] | None = None,
    ) -> None:
        """
        Make a message for the handler of *key*.

        Args:
            key: The first of the keys that `get_keys` returns.
            payload: What `get_payload` returns.
            keys: The keys to try after *key*.
            group: What `get_group` returns; None is no group.
            faults:
                By name of the method: an exception, which that method raises each time, or an event, which it
                waits for each time. `get_keys` and `get_group` are plain functions and can only raise.

        Raises:
            ValueError: *faults* names a method that adapters do not have.
            TypeError: An event was given to a method that cannot wait.
        """
        self.calls = []
        self.completed = []
        self.outcome = None
        self._keys = (key, *keys)
        self._payload: Payload = payload
        self._group = group
        self._faults = dict(faults or {})
        _check(self._faults)

    def get_keys(self) -> Iterable[Key]:
        self._raise_fault("get_keys")
        return self._keys

    def get_group(self) -> Hashable:
        self._raise_fault("get_group")
        return self._group

    async def get_payload(self) -> Payload:
        await self._suffer("get_payload")
        return self._payload

    async def on_success(self, result: Result, /) -> None:
        self.outcome = Success(result)
        await self._record("success")

    async def on_failure(self, exc: Exception, /) -> None:
        self.outcome = Failure(exc)
        await self._record("failure")

    async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
        self.outcome = Cancelled(cast("Cancellation", exc))
        await self._record("cancel")

    async def on_no_handler(self) -> None:
        self.outcome = NoHandler()
        await self._record("no_handler")

    async def on_pulse(self) -> None:
        await self._record("pulse")

    async def _record(self, call: Call) -> None:
        self.calls.append(call)
        await self._suffer(cast("Callback", f"on_{call}"))
        self.completed.append(call)

    async def _suffer(self, callback: Callback) -> None:
        self._raise_fault(callback)
        fault = self._faults.get(callback)
        if fault is not None and not isinstance(fault, BaseException):
            await fault.wait()

    def _raise_fault(self, callback: Callback) -> None:
        fault = self._faults.get(callback)
        if isinstance(fault, BaseException):
            raise fault

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._keys[0]!r} calls={self.calls}>"


def _check(faults: Mapping[Callback, BaseException | Event]) -> None:
    for callback, fault in faults.items():
        if callback not in get_args(Callback):
            names = ", ".join(get_args(Callback))
            raise ValueError(f"faults must be given by the name of a method of adapters, got {callback!r}; use {names}")
        if callback in _PLAIN and not isinstance(fault, BaseException):
            raise TypeError(f"{callback} cannot wait, so its fault must be an exception, got {fault!r}")
