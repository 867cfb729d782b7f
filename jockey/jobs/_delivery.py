"""A broker's delivery as the core sees it: the one bridge between the two."""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import msgspec

from jockey._adapter import Adapter
from jockey.jobs._arguments import Call
from jockey.jobs._broker import Cancelled, Died, Released, Retried, Settlement, Succeeded
from jockey.jobs._codec import decode
from jockey.jobs._context import Context, facts
from jockey.jobs._errors import ArgumentsError, DecodeError, LeaseLostError, UnknownTaskError
from jockey.jobs._failure import Failure
from jockey.jobs._settle import after_failure, after_refusal, after_success, death, policy_of, text_of, trouble_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from jockey._job import JobHandle
    from jockey.jobs._broker import Delivery
    from jockey.jobs._counts import Tally
    from jockey.jobs._endings import Endings
    from jockey.jobs._message import Message, Trouble
    from jockey.jobs._settler import Settler
    from jockey.jobs._task import Task

DONE: Final = ("done",)
"""The key of the handler for jobs whose work is done, and was done in vain: no task has it, their names are strings."""

_ENDS: Final[dict[type[Settlement], str]] = {
    Succeeded: "succeeded",
    Retried: "retried",
    Died: "dead",
    Cancelled: "cancelled",
    Released: "released",
}

_WITH_TRACEBACK: Final = frozenset({"retried", "dead"})
_LEVELS: Final = {"retried": logging.WARNING, "dead": logging.ERROR, "lost": logging.WARNING}

_log = logging.getLogger("jockey.jobs")


@dataclass(frozen=True, slots=True)
class Desk:
    """What all deliveries of one worker share."""

    tasks: Mapping[str, Task[..., Any]]
    """All that are known here, by name."""

    state: object
    """What the lifespan of the app yielded."""

    settler: Settler
    """Brings the results of groups together."""

    tally: Tally
    """Counts how they ended."""

    worker: str
    """The name of the worker."""

    clock: Callable[[], float]
    """Seconds since the epoch."""

    on_end: Callable[[DeliveryAdapter], object]
    """Is told of each that has ended."""

    endings: Endings
    """Tells the broker how they ended."""


class DeliveryAdapter(Adapter[Any, Any, Any]):
    """
    One delivery: which task it is for, what that gets, and what the broker is told in the end.

    Attributes:
        delivery: What came.
        message: What it says; None if it cannot be read.
        handle: The job in the executor, until the end.
        settlement: What the broker is told, once it is known.
        is_lost: Whether the job is no longer this worker's.
    """

    handle: JobHandle[Any]
    settlement: Settlement
    is_lost = False
    _known: tuple[Message, Task[..., Any]]  # only what has both gets as far as a handler
    _task: Task[..., Any] | None = None
    _refusal: Exception | None = None
    _is_over = False
    _reason: str | None = None
    _started = 0.0
    _error: Exception | Failure | None = None
    _settled: anyio.Event | None = None

    def __init__(self, delivery: Delivery, desk: Desk) -> None:
        self.delivery = delivery
        self._desk = desk
        message = delivery.message
        self.message = message = self._read() if message is None else message
        if message is not None:
            self._task = task = desk.tasks.get(message.name)
            if task is not None:
                self._known = message, task

    # What others tell it

    def cancel(self, reason: str) -> None:
        """Learn that somebody has cancelled the job."""
        self._reason = reason
        self._is_over = self.handle.cancel(reason) or self._is_over

    def lose(self) -> None:
        """Learn that the job is no longer this worker's: what becomes of it here is not wanted any more."""
        self.is_lost = self._is_over = True
        self.handle.cancel("the lease was lost")

    def end(self) -> None:
        """Learn that the broker has been told."""
        self._note(_ENDS[type(self.settlement)])

    def end_lost(self, error: Exception | None = None) -> None:
        """Learn that the broker will not be told."""
        self._error = error or self._error
        self._note("lost")

    # What the core asks

    def get_keys(self) -> Sequence[Hashable]:
        message = self.message
        if self._task is None or message is None:
            return ()
        return (DONE,) if message.done else (message.name,)

    def get_group(self) -> Hashable:
        return None if self.message is None else self.message.group

    async def get_payload(self) -> Any:
        message, task = self._known
        self._started = time.perf_counter()
        if message.done:
            return message.done[0]
        try:
            call = task.arguments.convert(message.args, message.kwargs)
        except ArgumentsError as error:
            self._refusal = error
            raise
        if not task.arguments.wants_context:
            return call
        is_last = policy_of(message, task).next_delay(message.attempt + 1) is None
        context = Context(self._desk.state, message, is_last_attempt=is_last, is_over=lambda: self._is_over)
        return Call((context, *call.args), call.kwargs)

    async def on_success(self, result: Any, /) -> None:
        self._is_over = True
        if isinstance(result, Failure):
            await self._settle(self._failed(result), result)
            return
        message, task = self._known
        try:
            encoded = msgspec.json.encode(result) if message.done else task.arguments.encode_result(result)
        except Exception as error:
            await self._settle(self._dead(error), error)  # the work is done, and would come to the same again
            return
        if message.join or message.on_success or task.on_success:
            await self._follow(message, task, encoded)
            return
        self.settlement = Succeeded(encoded, task.ttl_of(message))
        # As in `_settle`, without one more coroutine.
        if not self._desk.endings.add(self) or message.group is not None:
            await self._until_settled()

    async def on_failure(self, exc: Exception, /) -> None:
        self._is_over = True
        await self._settle(self._dead(exc) if exc is self._refusal else self._failed(exc), exc)

    async def on_cancel(self, _: asyncio.CancelledError, /) -> None:
        self._is_over = True
        if self._reason is None:
            await self._settle(Released())
        else:
            ttl = self._task.ttl_of(self.message) if self._task and self.message else None
            await self._settle(Cancelled(self._reason, ttl))

    async def on_no_handler(self) -> None:
        error = self._refusal or self._unknown()
        await self._settle(self._dead(error), error)

    def __repr__(self) -> str:
        return f"<delivery of {self._label()}>"

    # How it ends

    def _read(self) -> Message | None:
        try:
            return decode(self.delivery.body, queue=self.delivery.queue)
        except DecodeError as error:
            self._refusal = error
            return None

    def _unknown(self) -> UnknownTaskError:
        name = cast("Message", self.message).name  # else it would be a refusal
        if name in self._desk.tasks:
            return UnknownTaskError(
                f"the task {name!r} was declared after this worker had started; import the module that declares it "
                "before the worker starts"
            )
        return UnknownTaskError(
            f"this worker knows no task {name!r}, only {sorted(self._desk.tasks)}; import the module that declares "
            "it before the worker starts, or let only workers that know it take from that queue"
        )

    async def _follow(self, message: Message, task: Task[..., Any], result: bytes) -> None:
        desk = self._desk
        try:
            joined = None
            if message.join is not None:
                joined = await desk.settler.arrive(message.join, result, lambda: self.is_lost)
            settlement: Settlement = after_success(message, task, result, joined, now=desk.clock(), tasks=desk.tasks)
        except LeaseLostError as error:
            self.end_lost(error)
        except Exception as error:
            refused = after_refusal(message, Succeeded(result), error, self._trouble(error))
            await self._settle(refused or Released(), error)
        else:
            await self._settle(settlement)

    def _failed(self, error: Exception | Failure) -> Settlement:
        message, task = self._known
        now, tasks = self._desk.clock(), self._desk.tasks
        return after_failure(message, task, error, self._trouble(error), now=now, tasks=tasks)

    def _dead(self, error: Exception) -> Settlement:
        trouble = self._trouble(error)
        if self.message is None:
            return Died(trouble)
        return death(self.message, trouble, self._task, now=self._desk.clock(), tasks=self._desk.tasks)

    def _trouble(self, error: Exception | Failure) -> Trouble:
        return trouble_of(error, worker=self._desk.worker, now=self._desk.clock())

    async def _settle(self, settlement: Settlement, error: Exception | Failure | None = None) -> None:
        self.settlement = settlement
        self._error = error
        # The next one of its group must not begin before this one has ended, for the broker too.
        if not self._desk.endings.add(self) or self.get_group() is not None:
            await self._until_settled()

    async def _until_settled(self) -> None:
        self._settled = anyio.Event()
        await self._settled.wait()

    def _note(self, end: str) -> None:
        desk = self._desk
        desk.tally.note(end)
        desk.on_end(self)
        del self.handle  # its message is this one: such a cycle would be left to the collector
        if self._settled is not None:
            self._settled.set()
        level = _LEVELS.get(end, logging.INFO)
        if _log.isEnabledFor(level):
            extra = {} if self.message is None else facts(self.message)
            cause = self._error if isinstance(self._error, Exception) and end in _WITH_TRACEBACK else None
            try:
                _log.log(level, "%s %s", self._label(), self._story(end, self._error), exc_info=cause, extra=extra)
            except Exception:
                # A filter of the user's, say: what is wrong with it is nothing to others that have ended with this one.
                traceback.print_exc()

    def _story(self, end: str, error: Exception | Failure | None) -> str:
        seconds = time.perf_counter() - self._started
        match end:
            case "succeeded":
                return f"succeeded in {seconds:.3f} s"
            case "retried":
                return f"failed and will be tried again: {_what(error)}"
            case "dead":
                return f"is dead: {_what(error)}"
            case "cancelled":
                return f"was cancelled: {self._reason or 'no reason given'}"
            case "released":
                return "was released, and comes again"
            case _:
                return f"is no longer this worker's, and comes again: {_what(error)}"

    def _label(self) -> str:
        if self.message is None:
            return f"an unreadable message from the queue {self.delivery.queue!r}"
        return f"{self.message.name}[{self.message.id}]"


def _what(error: Exception | Failure | None) -> str:
    if isinstance(error, Exception):
        return f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")  # it need not say anything
    return error.reason or "no reason given" if error is not None else "the lease was lost"
