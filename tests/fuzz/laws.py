"""The laws that are checked on the history of a program, when it has ended."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator

import jockey
from jockey.testing import Backend, StalledError, run
from tests.fuzz import program
from tests.fuzz.record import Record
from tests.fuzz.world import (
    END_OF_TIME,
    FuzzCrash,
    FuzzError,
    FuzzExit,
    FuzzGroup,
    FuzzTimeoutError,
    StrayCancel,
    World,
)

_TOLERANCE = 0.01
"""Seconds; the executor may serve deadlines together that are closer to each other than a fraction of that."""


def violations(plan: program.Program, backend: Backend, seed: int) -> tuple[list[str], World]:
    """Run *plan*, and return the laws that it breaks, in words, and what happened."""
    world = World(plan, backend, is_eager=backend == "asyncio" and seed % 4 == 3)
    try:
        run(world.live, backend=backend, seed=seed, limit=END_OF_TIME * 100)
    except StalledError as stalled:
        return [*world.violations, f"hangs: {stalled}"], world
    except (Exception, asyncio.CancelledError, FuzzCrash, FuzzGroup, SystemExit) as error:
        return [*world.violations, f"crashes: {error!r}"], world
    return [*world.violations, *_broken(world)], world


def _broken(world: World) -> Iterator[str]:
    records = [record for record in world.records if record.accepted]
    for record in records:
        if not record.is_silent and len(record.ends) == 1:
            yield from _wrong_end(world, record)
        yield from _wrong_duration(world, record)
        yield from _wrong_pulses(world, record)
    yield from _wrong_rates(world, records)
    yield from _wrong_statistics(world, records)


def _wrong_end(world: World, record: Record) -> Iterator[str]:
    end, value = record.ends[0], record.value
    if record.started_at is None:
        yield from _wrong_end_without_start(world, record)
        return
    match end:
        case "on_success":
            if not record.returned or value != record.number * 10:
                yield f"{record} succeeded with {value!r} although its handler did not return that"
        case "on_failure":
            yield from _wrong_failure(world, record, value)
        case "on_cancel":
            if not isinstance(value, jockey.Cancellation):
                yield f"{record} was cancelled with {value!r}"
            if not (record.cancel_asked or world.is_stopping or world.shuts_down):
                yield f"{record} was cancelled, and nobody asked for that: {value!r}"
            if isinstance(record.raised, FuzzError | FuzzTimeoutError | FuzzCrash | FuzzGroup):
                yield f"{record} raised {record.raised!r} but was reported as cancelled"
        case _:
            yield f"{record} has started and ended with {end}"


def _wrong_end_without_start(world: World, record: Record) -> Iterator[str]:
    end, value = record.ends[0], record.value
    fails = record.lookup_raised is not None or (record.job.unhashable is not None)
    match end:
        case "on_failure":
            if not fails:
                yield f"{record} never ran, yet it failed with {value!r}"
            elif isinstance(record.lookup_raised, Exception) and value is not record.lookup_raised:
                yield f"{record} failed with {value!r} instead of {record.lookup_raised!r}"
        case "on_no_handler":
            if record.key is not None:
                yield f"{record} was told that it has no handler"
        case "on_cancel":
            if not isinstance(value, jockey.Cancellation):
                yield f"{record} was cancelled with {value!r}"
            if not (record.cancel_asked or world.is_stopping or world.shuts_down or world.block_is_left):
                yield f"{record} was cancelled in the backlog, and nobody asked for that: {value!r}"
        case _:
            yield f"{record} never ran, yet it ended with {end}"


def _wrong_failure(world: World, record: Record, value: object) -> Iterator[str]:
    raised = record.raised
    if not isinstance(value, Exception):
        yield f"{record} failed with {value!r}, which is no Exception"
    elif isinstance(value, jockey.JobTimeoutError):
        if isinstance(raised, FuzzError | FuzzTimeoutError | FuzzCrash | FuzzGroup):
            yield f"{record} raised {raised!r} but was reported as timed out"
    elif isinstance(raised, Exception):
        if value is not raised and not isinstance(raised, BaseExceptionGroup):
            yield f"{record} failed with {value!r} instead of {raised!r}"
    elif isinstance(raised, FuzzCrash | FuzzExit | FuzzGroup | StrayCancel):
        if not isinstance(value, jockey.HandlerCrashedError) or value.__cause__ is None:
            yield f"{record} failed with {value!r} although it raised {raised!r}"
    elif isinstance(raised, asyncio.CancelledError) and not record.cancelled_task:
        yield f"{record} was cancelled but failed with {value!r}"
    elif raised is None:
        yield f"{record} failed with {value!r} although it raised nothing"


def _wrong_duration(world: World, record: Record) -> Iterator[str]:
    timeout = world.plan_of(record).job_timeout if record.key is not None else None
    is_timeout = isinstance(record.value, jockey.JobTimeoutError)
    if record.started_at is None:
        return
    if is_timeout and timeout is None:
        yield f"{record} timed out although it has no timeout"
    if timeout is None or record.handler_ended_at is None:
        return
    elapsed = record.handler_ended_at - record.started_at
    if is_timeout and elapsed < timeout - _TOLERANCE:
        yield f"{record} timed out after {elapsed} seconds instead of {timeout}"
    if elapsed > timeout + _TOLERANCE and not record.is_stubborn and not record.has_waited:
        yield f"{record} ran for {elapsed} seconds, its timeout is {timeout}"


def _wrong_pulses(world: World, record: Record) -> Iterator[str]:
    if record.key is None or record.handler_started_at is None or record.handler_ended_at is None:
        return
    every = world.plan_of(record).pulse_every
    if every is None or record.is_silent:
        if record.pulses:
            yield f"{record} has pulses although it wants none"
        return
    if record.pulse_is_slow or record.cancelled_task or record.is_stubborn or record.has_waited:
        return
    expected = (record.handler_ended_at - record.handler_started_at) / every
    stops = any(isinstance(step, program.Raise) and step.error in {"exit"} for step in _steps(record, "on_pulse"))
    if not expected - 1.1 <= len(record.pulses) <= expected + 0.1 and not stops and not _waits(record):
        yield f"{record} had {len(record.pulses)} pulses instead of {expected:.1f}"


def _steps(record: Record, callback: str) -> tuple[program.Step, ...]:
    return tuple(step for on in record.job.callbacks if on.callback == callback for step in on.steps)


def _waits(record: Record) -> bool:
    return any(isinstance(step, program.Execute | program.Wait) for step in _steps(record, "on_pulse"))


def _wrong_rates(world: World, records: list[Record]) -> Iterator[str]:
    for limit in world.plan.limits:
        rate = limit.size
        if isinstance(rate, program.Rate):
            starts = sorted(
                record.started_at
                for record in records
                if record.started_at is not None and record.key and limit.name in world.plan_of(record).limits
            )
            for (i, first), (j, last) in itertools.combinations(enumerate(starts), 2):
                allowed = rate.burst + (last - first) * rate.starts / rate.per
                if j - i + 1 > allowed + _TOLERANCE:
                    yield f"{j - i + 1} starts in {last - first} seconds, {rate} allows {allowed}"


def _wrong_statistics(world: World, records: list[Record]) -> Iterator[str]:
    if not hasattr(world, "running"):
        return
    statistics = world.running.statistics()
    counts = {
        jockey.JobState.SUCCEEDED: statistics.succeeded,
        jockey.JobState.FAILED: statistics.failed,
        jockey.JobState.CANCELLED: statistics.cancelled,
        jockey.JobState.NO_HANDLER: statistics.no_handler,
    }
    if sum(counts.values()) != len(records):
        yield f"{len(records)} jobs were accepted, but {counts} is what became of them"
    ends = Counter(record.ends[0] for record in records if record.ends)
    names = ("on_success", "on_failure", "on_cancel", "on_no_handler")
    for name, count in zip(names, counts.values(), strict=True):
        silent = sum(record.is_silent for record in records)
        if not ends[name] <= count <= ends[name] + silent:
            yield f"{name} was called {ends[name]} times, but the statistics tell {count}"
    if statistics.running or any(statistics.queued.values()) or statistics.queued_by_key:
        yield f"something is left at the end: {statistics}"
    raised = sum(record.end_raised is not None for record in records)
    if statistics.callback_errors != raised:
        yield f"{raised} callbacks raised, but the statistics tell {statistics.callback_errors}"
    for record in records:
        if record.end_raised is not None and not _was_heard(world, record.end_raised):
            yield f"on_error never heard of {record.end_raised!r} of {record}"


def _was_heard(world: World, error: BaseException) -> bool:
    return any(error is heard or error is heard.__cause__ for heard in world.errors_heard)
