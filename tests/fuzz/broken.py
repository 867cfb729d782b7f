"""Executors that are broken on purpose, each in one small way: what the laws must be able to notice."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest

from jockey import Executor, JobState, RunningExecutor, _engine, _execution, _pulse
from jockey._caps import RateCap, SlotCap
from jockey._crew import Crew
from jockey._engine import Engine
from jockey._errors import Cancellation
from jockey._job import Job
from jockey._nesting import Nesting
from jockey._runtime import AsyncioRuntime
from jockey._scheduler import Scheduler
from jockey._work import Reports


@dataclass(frozen=True)
class Broken:
    """One way to be broken."""

    law: str
    """What a violation of the law in question says, as a regular expression."""
    change: Callable[[pytest.MonkeyPatch], None]
    """Breaks the executor, until the monkeypatch is undone."""


def _never_reports(patch: pytest.MonkeyPatch) -> None:
    def add(self: Reports, job: Any) -> None:
        self.end(job)

    patch.setattr(Reports, "add", add)


def _reports_twice(patch: pytest.MonkeyPatch) -> None:
    callback = _execution._callback

    async def twice(job: Any) -> None:
        await callback(job)
        await callback(job)

    patch.setattr(_execution, "_callback", twice)


def _leaves_callbacks_behind(patch: pytest.MonkeyPatch) -> None:
    # Reported as soon as the callback has begun, as if nobody awaited it.
    async def drain(self: Engine, timeout: float | None) -> None:
        self.pending = 0
        self.resume()

    patch.setattr(Engine, "drain", drain)


def _fails_what_never_ran(patch: pytest.MonkeyPatch) -> None:
    def settle_cancelled(self: Any, reason: str | None) -> None:
        self.settle(JobState.FAILED, RuntimeError(reason))

    patch.setattr(Job, "settle_cancelled", settle_cancelled)


def _gives_slots_away(patch: pytest.MonkeyPatch) -> None:
    init = Crew.__init__

    def generous(self: Crew, size: float, work: Any, shop: Any) -> None:
        init(self, size + 1, work, shop)

    patch.setattr(Crew, "__init__", generous)


def _ignores_limits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotCap, "free_at", lambda self, now: now)


def _ignores_rates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RateCap, "free_at", lambda self, now: now)


def _ignores_groups(patch: pytest.MonkeyPatch) -> None:
    push = Scheduler.push

    def without_group(self: Scheduler, job: Any, group: Any) -> None:
        push(self, job, None)

    patch.setattr(Scheduler, "push", without_group)


def _forgets_to_release(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotCap, "release", lambda self: None)


def _keeps_the_slot_of_who_waits(patch: pytest.MonkeyPatch) -> None:
    def begin(self: Nesting, waiter: Any, wait: Any) -> None:
        self._waits.setdefault(waiter, []).append(wait)
        self._crew_of(waiter).size += 0

    def end(self: Nesting, waiter: Any, wait: Any) -> bool:
        self._forget(waiter, wait)
        return False

    patch.setattr(Nesting, "begin", begin)
    patch.setattr(Nesting, "end", end)


def _goes_on_without_a_slot(patch: pytest.MonkeyPatch) -> None:
    async def take_back_slot(self: Crew) -> None:
        pass

    patch.setattr(Crew, "take_back_slot", take_back_slot)


def _sees_no_deadlock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Nesting, "_is_deadlocked", lambda self, start: False)


def _never_times_out(patch: pytest.MonkeyPatch) -> None:
    def expire(self: Engine, runner: Any, job: Any) -> None:
        runner.deadline = math.inf

    patch.setattr(Engine, "_expire", expire)


def _takes_timeouts_for_cancellations(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_engine, "JobTimeoutError", Cancellation)


def _swallows_cancellation(patch: pytest.MonkeyPatch) -> None:
    run = Executor.run

    @asynccontextmanager
    async def swallowing(self: Executor[Any, Any, Any]) -> Any:
        with suppress(anyio.get_cancelled_exc_class()):
            async with run(self) as running:
                yield running

    patch.setattr(Executor, "run", swallowing)


def _leaves_waiters_job_alone(patch: pytest.MonkeyPatch) -> None:
    async def execute(self: RunningExecutor[Any, Any, Any], message: Any, **options: Any) -> Any:
        job = self.schedule(message, priority=options.get("priority"))
        with suppress(BaseException):
            await self._wait(job, options["wait_for"])  # type: ignore[arg-type]
        return job

    patch.setattr(RunningExecutor, "execute", execute)


def _returns_before_the_start(patch: pytest.MonkeyPatch) -> None:
    async def wait_for_start(self: Engine, *_: object) -> None:
        pass

    patch.setattr(Engine, "wait_for_start", wait_for_start)


def _lets_one_pulse_end_all(patch: pytest.MonkeyPatch) -> None:
    async def pulse(on_pulse: Callable[[], Awaitable[None]], every: float, report: Any, ended: Any) -> None:
        try:
            while not ended:
                await anyio.sleep(every)
                await on_pulse()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:
            report(error)

    patch.setattr(_pulse, "_pulse", pulse)


def _pulses_after_the_end(patch: pytest.MonkeyPatch) -> None:
    async def with_pulse(awaitable: Awaitable[Any], on_pulse: Any, every: float, report: Any) -> Any:
        try:
            return await awaitable
        finally:
            with anyio.CancelScope(shield=True):
                await on_pulse()

    patch.setattr(_execution, "with_pulse", with_pulse)


def _shares_the_context(patch: pytest.MonkeyPatch) -> None:
    context = contextvars.copy_context()
    patch.setattr(_engine, "copy_context", context.copy)


def _hears_no_errors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "on_error", lambda self, error, job: None)


def _counts_wrong(patch: pytest.MonkeyPatch) -> None:
    statistics = Engine.statistics
    patch.setattr(Engine, "statistics", lambda self: replace(statistics(self), failed=0))


def _hides_crashes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "crash", lambda self, error: None)


def _lets_stray_cancels_hit_the_next(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AsyncioRuntime, "stray_cancels", lambda self: lambda: 0)


def _lets_the_last_one_jump_the_queue(patch: pytest.MonkeyPatch) -> None:
    push = Scheduler.push

    def push_before_the_last(self: Scheduler, job: Any, group: Any) -> None:
        push(self, job, group)
        fresh = job.route.line.fresh
        if len(fresh) > 1 and fresh[-1] is job and fresh[-2].phase is JobState.QUEUED:
            other = fresh[-2]
            fresh[-1], fresh[-2] = other, job
            job.number, other.number = other.number, job.number

    patch.setattr(Scheduler, "push", push_before_the_last)


def _ignores_priorities(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_choose", Scheduler._oldest)


def _starts_while_paused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "pause", lambda self: None)


def _loses_the_wakeup(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_offer", lambda self, cap, now: None)


BY_LAW = {
    "never reports": Broken(r"has the ends \[\]", _never_reports),
    "reports twice": Broken(r"has \['on_\w+', 'on_\w+'\]", _reports_twice),
    "leaves callbacks behind": Broken(r"has the ends \[\]|not complete|hangs", _leaves_callbacks_behind),
    "fails what never ran": Broken("never ran, yet it failed", _fails_what_never_ran),
    "gives slots away": Broken("the executor runs", _gives_slots_away),
    "ignores limits": Broken("(handler|limit) '.*' runs", _ignores_limits),
    "ignores rates": Broken("starts in .* seconds", _ignores_rates),
    "ignores groups": Broken("group '.*' .* runs|overtakes", _ignores_groups),
    "forgets to release": Broken("although it could start", _forgets_to_release),
    "loses the wake-up": Broken("hangs|although it could start", _loses_the_wakeup),
    "keeps the slot of who waits": Broken("hangs", _keeps_the_slot_of_who_waits),
    "goes on without a slot": Broken("the executor runs", _goes_on_without_a_slot),
    "sees no deadlock": Broken("hangs", _sees_no_deadlock),
    "never times out": Broken("its timeout is", _never_times_out),
    "takes timeouts for cancellations": Broken("nobody asked for that", _takes_timeouts_for_cancellations),
    "swallows cancellation": Broken("was swallowed|left run|crashes", _swallows_cancellation),
    "leaves the job of a waiter alone": Broken("was swallowed", _leaves_waiters_job_alone),
    "returns before the start": Broken("returned before the start", _returns_before_the_start),
    "lets one pulse end all": Broken("pulses instead of", _lets_one_pulse_end_all),
    "pulses after the end": Broken("while its handler does not run", _pulses_after_the_end),
    "shares the context": Broken("has the context of", _shares_the_context),
    "hears no errors": Broken("never heard of", _hears_no_errors),
    "counts wrong": Broken("the statistics tell", _counts_wrong),
    "lets stray cancels hit the next job": Broken("was cancelled but failed", _lets_stray_cancels_hit_the_next),
    "hides crashes": Broken("instead of FuzzExit", _hides_crashes),
}
"""Caught by the laws of the fuzzer."""

BY_MODEL = {
    "lets the last one jump the queue": _lets_the_last_one_jump_the_queue,
    "ignores priorities": _ignores_priorities,
    "starts while paused": _starts_while_paused,
    "gives slots away": _gives_slots_away,
    "ignores limits": _ignores_limits,
    "ignores groups": _ignores_groups,
    "forgets to release": _forgets_to_release,
    "never times out": _never_times_out,
    "counts wrong": _counts_wrong,
    "returns before the start": _returns_before_the_start,
}
"""Caught by the comparison with the model."""
