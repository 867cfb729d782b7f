"""Run handlers in worker processes of our own: spawned, one private socket each, one job at a time."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import signal
from typing import TYPE_CHECKING, Any

import anyio

from jockey._backends import _frames
from jockey._backends._batch import NoWorkerError
from jockey._backends._channel import Request, Response, WorkerGoneError
from jockey._backends._child import Child
from jockey._backends._guard import check_not_preparing_main
from jockey._backends._parts import Blame, run_in_parts
from jockey._backends._transfer import Transfer, name_of
from jockey._errors import ExecutorClosedError, RegistrationError, TransferError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager

    Function = Callable[[Any], object]


class ProcessBackend:
    """
    A pool of worker processes, all in one event loop.

    How many jobs run at once is up to the caller: there are as many workers as jobs ever ran at once.
    """

    def __init__(
        self,
        *,
        max_jobs_per_process: int | None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        untimed: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        start_within: float = 120.0,
        kill_after: float = 1.0,
        exit_within: float = 5.0,
    ) -> None:
        """
        Start no process yet.

        Args:
            max_jobs_per_process: After so many jobs a worker is replaced; None for never.
            initializer: Is called with *initargs* in each worker before its first job.
            initargs: See *initializer*.
            untimed: Returns the block in which the start of a worker is waited for; that time is not the job's.
            start_within: Seconds that a worker has to start, its imports and the initializer included.
            kill_after: Seconds that a worker has to end after SIGTERM, before it gets SIGKILL.
            exit_within: Seconds that an idle worker has to end by itself, before it gets SIGTERM.

        Raises:
            RegistrationError:
                This platform has no POSIX processes; the initializer cannot be pickled; or see
                `check_not_preparing_main`.
        """
        if os.name != "posix":
            raise RegistrationError(f"ExecuteIn.PROCESS needs a POSIX system, this one is {os.name!r}; use THREAD")
        check_not_preparing_main()
        self._initializer = _pickled_call(initializer, initargs) if initializer is not None else b""
        self._max_jobs = max_jobs_per_process
        self._untimed = untimed
        self._start_within = start_within
        self._kill_after = kill_after
        self._exit_within = exit_within
        self._transfer = Transfer()
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        self._has_booted = False
        self._last_turn: anyio.Event | None = None
        self._is_closed = False

    async def run(self, function: Function, payload: object) -> object:
        """
        Return what ``function(payload)`` returns in a worker process.

        When this is cancelled, the worker is killed and gone before the cancellation goes on.

        Raises:
            TransferError: The function, the payload, the result or the exception cannot be sent.
            WorkerDiedError: The worker process died of this job, or none could be started.
            InitializerError: The initializer raised.
            HandlerCrashedError: The function raised what is no `Exception`, such as `SystemExit`.
            ExecutorClosedError: The pool is closed.
            Exception: The function raised it.
        """
        ended = await self._exchange(_frames.JOB, function, payload)
        if isinstance(ended, Blame):
            raise ended.error
        return await self._transfer.ending(function, ended)

    async def run_batch(self, function: Function, items: list[Any]) -> list[Any]:
        """
        Return what ``function(item)`` returns in a worker process for each of *items*, in their order.

        Where it fails, that is a `Failed`. Items are run a second time when the worker process dies of another one, or
        when it is not known which one cannot be sent. When this is cancelled, the worker is killed and gone before the
        cancellation goes on.

        Raises:
            TransferError: The function cannot be sent, or worker processes cannot import the script.
            WorkerDiedError: No worker process could be started.
            InitializerError: The initializer raised.
            ExecutorClosedError: The pool is closed.
        """
        self._transfer.reference_to(function)
        return await run_in_parts(functools.partial(self._run_part, function), items)

    async def _run_part(self, function: Function, items: list[Any]) -> list[Any] | Blame:
        ended = await self._exchange(_frames.BATCH, function, items)
        return ended if isinstance(ended, Blame) else await self._transfer.outcomes(function, ended)

    async def aclose(self) -> None:
        """Let every worker end, and return when they all have."""
        self._is_closed = True
        self._idle.clear()
        for child in self._children:
            child.leave()
        await self._see_off(self._children, self._exit_within)

    async def _exchange(self, kind: int, function: Function, payload: object) -> Response | Blame:
        has_failed_to_start = False
        while True:
            try:
                request = await self._transfer.request(kind, function, payload)
            except TransferError as exc:
                return Blame(exc)
            try:
                child = self._idle_child() or self._new_child(function)
            except BaseException:
                request.close()
                raise
            try:
                return await self._answer_of(child, request)
            except WorkerGoneError as gone:
                await self._see_off([child], self._kill_after)  # noqa: ASYNC120 - shielded
                # It was dead before it could even read the job, so the job has not run and has killed nobody.
                if gone.is_unread and child.is_booted:
                    continue
                if child.is_booted:
                    return Blame(_death_of(child, function), child.last_item)
                # Once may be an accident, such as the system being short of memory.
                if has_failed_to_start:
                    raise _death_at_start(child, function) from None
                has_failed_to_start = True
            finally:
                request.close()

    async def _answer_of(self, child: Child, request: Request) -> Response:
        try:
            response = None if child.is_booted else await self._boot(child)
            if response is None or child.is_booted:
                response = await child.exchange(request)
        except WorkerGoneError:
            raise
        except BaseException:
            await self._see_off([child], 0)  # noqa: ASYNC102 - shielded, and bounded by SIGKILL
            raise
        self._take_back(child)
        return response

    async def _boot(self, child: Child) -> Response:
        # The job that happens to need a new worker is not to blame for what that takes: else one slow job, whose worker
        # is killed, would use up the timeout of the next one.
        with self._untimed():
            try:
                with anyio.fail_after(self._start_within):
                    return await self._boot_in_turn(child)
            except TimeoutError:
                raise NoWorkerError(
                    f"worker process {child.pid} did not start within {self._start_within:g} seconds and was killed; "
                    "look at what the script and its modules do when they are imported"
                ) from None

    async def _boot_in_turn(self, child: Child) -> Response:
        # Workers boot side by side, but jobs that are there at the very beginning start in the order in which they
        # came, whichever process happens to be the quickest.
        if self._has_booted:
            return await child.boot()
        before, turn = self._last_turn, anyio.Event()
        self._last_turn = turn
        try:
            response = await child.boot()
            if before is not None:
                await before.wait()
        finally:
            turn.set()
        self._has_booted = self._has_booted or child.is_booted
        return response

    def _idle_child(self) -> Child | None:
        # The last one in is the first one out: it is the one whose memory is warm.
        while self._idle:
            child = self._idle.pop()
            if child.is_usable:
                return child
            self._dismiss(child)
        return None

    def _new_child(self, function: Function) -> Child:
        if self._is_closed:
            raise ExecutorClosedError(f"{name_of(function)!r} came after the worker processes had been closed")
        try:
            child = Child(self._forget, self._initializer)
        except (OSError, RuntimeError) as exc:
            raise NoWorkerError(f"no worker process for {name_of(function)!r} could be started: {exc}") from exc
        except Exception as exc:
            raise TransferError(f"a worker process cannot be told what it must know to start: {exc!r}") from exc
        self._children.add(child)
        return child

    def _take_back(self, child: Child) -> None:
        is_spent = self._max_jobs is not None and child.jobs >= self._max_jobs
        if is_spent or self._is_closed or not child.is_booted:
            self._dismiss(child)
        else:
            self._idle.append(child)

    def _dismiss(self, child: Child) -> None:
        now = anyio.current_time()
        child.leave(by=now + self._exit_within)
        # Those that were dismissed before and do not go: nobody waits for them, so they are seen to here.
        for other in self._children:
            if other.leaves_by < now:
                other.kill()

    def _forget(self, child: Child) -> None:
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)

    async def _see_off(self, children: Collection[Child], patience: float) -> None:
        """Wait until all of *children* have ended; those that do not within *patience* seconds are made to."""
        children = tuple(children)
        with anyio.CancelScope(shield=True):
            try:
                if await _have_exited(children, patience):
                    return
                for child in children:
                    child.terminate()
                if await _have_exited(children, self._kill_after):
                    return
            except BaseException:
                # A native cancellation of asyncio goes through a shield: this is urgent.
                for child in children:
                    child.kill()
                await _have_exited(children, None)  # noqa: ASYNC102 - shielded, and bounded by SIGKILL
                raise
            for child in children:
                child.kill()
            await _have_exited(children, None)


async def _have_exited(children: Collection[Child], seconds: float | None) -> bool:
    with anyio.move_on_after(seconds):
        for child in children:
            await child.exited.wait()
    return all(child.exited.is_set() for child in children)


def _pickled_call(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> bytes:
    try:
        return pickle.dumps((initializer, initargs), pickle.HIGHEST_PROTOCOL)
    except Exception as exc:
        raise RegistrationError(
            f"the initializer {initializer!r} with initargs {initargs!r} cannot be sent to a process: {exc}; use a"
            " function from the top level of a module, and plain data"
        ) from exc


def _death_of(child: Child, function: Function) -> WorkerDiedError:
    return WorkerDiedError(
        f"worker process {child.pid} ended with {_end_of(child)} while it ran {name_of(function)!r}; only this job has "
        "failed. If nobody killed it: SIGKILL mostly means out of memory, SIGSEGV a crash in an extension module",
        child.exit_code,
    )


def _death_at_start(child: Child, function: Function) -> NoWorkerError:
    return NoWorkerError(
        f"worker process {child.pid} ended with {_end_of(child)} while it started for {name_of(function)!r}, as the "
        "one before it did; look at the initializer, and at what the script and its modules do when they are imported",
        child.exit_code,
    )


def _end_of(child: Child) -> str:
    code = child.exit_code
    return f"exit code {code}" if code is None or code >= 0 else _signal_name(-code)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
