"""
One job, from its payload to its one callback: run, classify, report.

A runner does this for thousands of jobs in a row. Each runs in its own context, in the one task of the runner: a task
for each job would cost several times as much as all the rest. So the runner has one generator that lives as long as
itself; it gets a job, and is driven step by step in the context of that job until it says that it has done with it.
"""

from __future__ import annotations

import types
from collections.abc import Generator
from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from jockey._errors import CallbackTimeoutError, Cancellation
from jockey._job import Job, JobState, as_exception, current_job
from jockey._pulse import with_pulse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from jockey._runner import Runner

    class _Steps(Generator[Any, Any, Any], Awaitable[Any]):
        """A coroutine, to which a generator may delegate if it has a flag that type checkers do not know."""


AnyJob = Job[Any]
Work = Generator[Any, Any, None]

_COROUTINE: Any = CoroutineType  # not as precise as it could be: else mypy refuses to delegate to one
# Members of enums are slow to get at in Python 3.11.
_REPORTING: Final = JobState.REPORTING
_SUCCEEDED: Final = JobState.SUCCEEDED


class _Mark:
    """What the generator yields to its runner, where all else that it yields is for the event loop."""


REPORTED: Final = _Mark()
"""The callback of the job has returned; the next job may be sent."""

STOPPED: Final = _Mark()
"""The job was stopped. Its end is settled, and is to be reported outside of the cancelled scope: send it again."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the jobs of one runner find around them."""

    stray_cancels: Callable[[], int]
    """How many native cancellations of the runner's task nobody has taken back."""

    absorb_stray_cancels: Callable[[], Coroutine[Any, Any, None]]
    """Takes them back."""

    crash: Callable[[BaseException], object]
    """Stops the whole executor, which then raises that error."""

    on_error: Callable[[Exception, AnyJob], object]
    """Tells the user of an error that is not how the job ends."""


def _work_off(runner: Runner, around: Surroundings) -> Work:
    """
    Run each job that is sent, and yield `REPORTED` or `STOPPED` for it; no job makes it raise.

    Everything is in here, and not in functions of its own, because this is the hot path: a generator or a coroutine
    more for each job would cost a tenth of what a job costs.
    """
    set_current, stray_cancels = current_job.set, around.stray_cancels
    nothing: Any = None
    steps: _Steps
    job: AnyJob = yield REPORTED
    while True:
        set_current(job)
        message: Any = job.message
        if job.end is None:
            route: Any = job.route
            try:
                steps = message.get_payload()
                payload: Any = yield from (steps if type(steps) is _COROUTINE else steps.__await__())
                steps = route.call(payload) if route.pulse_every is None else _with_pulse(job, payload, around)
                job.value = yield from (steps if type(steps) is _COROUTINE else steps.__await__())
                job.phase = _REPORTING
                job.end = _SUCCEEDED
            except BaseException as error:
                if runner.is_gone:
                    raise
                _settle_raised(job, runner, error, around)
            payload = None  # it may be large, and the callback may take its time
            if runner.is_stopped:
                job = yield STOPPED
                continue
            if stray_cancels():
                yield from around.absorb_stray_cancels().__await__()
        try:
            steps = message.on_success(job.value) if job.end is _SUCCEEDED else _callback(job)
            yield from (steps if type(steps) is _COROUTINE else steps.__await__())
        except BaseException as error:
            if runner.is_gone:
                raise
            _note_callback_error(job, runner, error, around)
        if stray_cancels() and not runner.is_stopped:
            yield from around.absorb_stray_cancels().__await__()
        job = message = steps = nothing  # else the runner would keep it all alive until its next job
        job = yield REPORTED


# The flag that `types.coroutine` sets lets the generator delegate to coroutines; it stays a generator.
work_off = cast("Callable[[Runner, Surroundings], Work]", types.coroutine(_work_off))


def _callback(job: AnyJob) -> Any:  # see `_Steps`
    message = job.message
    match job.end:
        case JobState.FAILED:
            return message.on_failure(job.value)
        case JobState.CANCELLED:
            return message.on_cancel(job.value)
        case _:
            return message.on_no_handler()


def _with_pulse(job: AnyJob, payload: object, around: Surroundings) -> Any:  # see `_Steps`
    every = job.route.pulse_every or 0.0
    return with_pulse(
        job.route.call(payload), job.message.on_pulse, every, lambda error: _note_pulse_error(job, error, around)
    )


def _note_pulse_error(job: AnyJob, error: BaseException, around: Surroundings) -> None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        around.crash(error)
    around.on_error(as_exception(error, f"the pulse of {job.name!r}"), job)


def _settle_raised(job: AnyJob, runner: Runner, error: BaseException, around: Surroundings) -> None:
    if runner.verdict is not None:
        rest = _without_cancellation(error)
        if rest is None:
            is_cancelled = isinstance(runner.verdict, Cancellation)
            job.settle(JobState.CANCELLED if is_cancelled else JobState.FAILED, runner.verdict)
            return
        error = rest
    _drop_our_frame(error)
    if isinstance(error, KeyboardInterrupt | SystemExit):
        around.crash(error)
    job.settle_failed(error)


def _drop_our_frame(error: BaseException) -> None:
    # The first frame is that of `_work_off`, which tells the user nothing. Its generator is dropped later, while it
    # waits; then early Pythons 3.13 crash when somebody looks at the locals of the traceback, as IPython does.
    if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
        error.__traceback__ = error.__traceback__.tb_next


def _without_cancellation(error: BaseException) -> BaseException | None:
    cancelled = anyio.get_cancelled_exc_class()  # noqa: ASYNC118 - of the event loop that runs
    if isinstance(error, cancelled):
        return None
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(cancelled)[1]
    return error


def _note_callback_error(job: AnyJob, runner: Runner, error: BaseException, around: Surroundings) -> None:
    _drop_our_frame(error)
    if isinstance(error, KeyboardInterrupt | SystemExit):
        around.crash(error)
    culprit = f"the callback of {job.name!r} for the end {job.end.value if job.end else None!r}"
    if runner.is_stopped and isinstance(error, anyio.get_cancelled_exc_class()):
        job.callback_error = CallbackTimeoutError(f"{culprit} did not return in the time it had at the end")
        job.callback_error.__cause__ = error
    else:
        job.callback_error = as_exception(error, culprit)
    around.on_error(job.callback_error, job)


@types.coroutine
def go_on(
    work: Work,
    yielded: object,
    job: AnyJob,
    clock: Callable[[], float],
    on_step: Callable[[AnyJob, float], object],
) -> Generator[Any, Any, object]:
    """
    Drive *work* on, in the context of *job*, until it yields a mark; return that.

    Whatever else it yields goes to the event loop of the surrounding task, on asyncio as on trio, and the answer goes
    back. *on_step* is told how many seconds each step kept the event loop busy.
    """
    while not isinstance(yielded, _Mark):
        step: Callable[[Any], object] = work.send
        try:
            value = yield yielded
        except GeneratorExit:
            # So is the event loop: no callback can be awaited any more. Where a job is driven, it has a runner.
            cast("Runner", job.runner).is_gone = True
            work.close()
            raise
        except BaseException as error:
            step, value = work.throw, error
        started = clock()
        yielded = job.context.run(step, value)
        on_step(job, clock() - started)
    return yielded
