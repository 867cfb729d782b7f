"""A worker: takes deliveries from a broker, only as many as it can run, and has the core run them."""

from __future__ import annotations

import functools
import logging
import math
import os
import signal
import socket
import uuid
from typing import TYPE_CHECKING, Final, Generic

import anyio

from jockey import _validation
from jockey._errors import RegistrationError
from jockey._executor import Executor
from jockey.jobs._context import StateOut
from jockey.jobs._counts import Tally, WorkerCounts
from jockey.jobs._delivery import Desk
from jockey.jobs._endings import GRACE, Endings
from jockey.jobs._handlers import registry_of
from jockey.jobs._intake import InHand, Intake
from jockey.jobs._outage import Outage
from jockey.jobs._plain import is_valid
from jockey.jobs._settler import Settler
from jockey.jobs._shutdown import Shutdown, received
from jockey.jobs._start import Start

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jockey.jobs._app import App

_BESIDE: Final = 4
"""For each slot, so many jobs may be done whose ends the broker is being told of."""

_log = logging.getLogger("jockey.jobs")


class Worker(Generic[StateOut]):
    """
    Takes jobs from the broker of an app, and runs them. Settings only: what lives, lives inside of `run`.

    Args:
        app: Has the broker and the tasks; `run` opens it if it is not open.
        queues: The names of the queues to take from; None: those of all tasks of the app.
        max_jobs: How many jobs run at once. No more are taken from the broker, either.
        messages_limit: `run` ends when it has taken so many deliveries, exactly, and they have ended; None is no limit.
        graceful_shutdown_time: Seconds that running jobs get to end after the first signal. Then they are cancelled and
            released, for which there are four seconds more, and another four while the broker cannot be told.
        handle_signals: The signals that end the worker. The first one: it takes nothing new, gives back what has not
            started, and lets what runs end in time. The second one: what runs is cancelled and given back now. The
            third one: the process is killed as if nobody handled it. In the main thread only; elsewhere no signal is
            handled.
        burst: `run` ends as soon as nothing is ready to run.
        name: What records call this worker; None: made of the names of the machine and the process.
        lease: Seconds after which the jobs of a worker that has died, or cannot reach the broker, run elsewhere.
        max_crashes: A job that has taken so many workers with it is dead.

    Raises:
        RegistrationError: An argument makes no sense.
    """

    def __init__(
        self,
        app: App[StateOut],
        queues: Iterable[str] | None = None,
        *,
        max_jobs: int = 16,
        messages_limit: int | None = None,
        graceful_shutdown_time: _validation.Seconds = 25.0,
        handle_signals: Iterable[int] = (signal.SIGINT, signal.SIGTERM),
        burst: bool = False,
        name: str | None = None,
        lease: _validation.Seconds = 30.0,
        max_crashes: int = 3,
    ) -> None:
        self._app = app
        self._queues = _checked_queues(queues)
        self._max_jobs = _validation.count("max_jobs", max_jobs)
        self._limit = _validation.optional_count("messages_limit", messages_limit) or math.inf
        self._grace = _validation.seconds("graceful_shutdown_time", graceful_shutdown_time, zero=True)
        self._signals = _checked_signals(handle_signals)
        self._is_burst = _checked_burst(burst)
        self._name = _made_name() if name is None else _checked_name(name)
        self._lease = _validation.seconds("lease", lease)
        self._max_crashes = _validation.count("max_crashes", max_crashes)

    async def run(self) -> WorkerCounts:
        """
        Take jobs and run them until a signal, the limit or the end of the burst; return what was done.

        When the code that waits for it is cancelled, all jobs are cancelled and released, and the cancellation goes on.

        A broker that is away is waited for, at the start and later.

        Raises:
            RegistrationError: A task cannot run where it is to run.
            BrokerUnavailableError: What answers at the start refuses: a password is wrong, a file is none of ours.
            QueueNotDeclaredError: The app does not declare its queues, and one of them is missing at the start.
        """
        shutdown = Shutdown(self._name, self._grace)
        counts = WorkerCounts()
        failure: BaseException | None = None
        with received(self._signals) as signals:
            async with anyio.create_task_group() as tasks:
                if signals is not None:
                    tasks.start_soon(shutdown.obey, signals)
                try:
                    counts = await self._run(shutdown)
                except anyio.get_cancelled_exc_class():
                    raise
                except BaseException as error:  # raised below: here it would end in a group
                    failure = error
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return counts

    async def _run(self, shutdown: Shutdown) -> WorkerCounts:
        tally, outage = Tally(), Outage(self._name)
        start = Start(shutdown, outage)
        async with start.opened(self._app):
            if not shutdown.is_asked:
                await self._work(start, shutdown, tally, outage)
        counts = tally.counts(left=self._app.lost)
        _log.info("worker %s: has ended: %s", self._name, counts)
        return counts

    async def _work(self, start: Start, shutdown: Shutdown, tally: Tally, outage: Outage) -> None:
        app = self._app
        async with app.lifespan() as state:
            queues = self._queues or sorted({queue for task in app.tasks.values() for queue in task.queues})
            await (start.declare if app.auto_declare else start.expect)(app.broker, queues)
            executor = Executor(registry_of(app.tasks.values()), max_jobs=self._max_jobs, grace=GRACE)
            in_hand = InHand(app.tasks, app.clock)
            consume = functools.partial(
                app.broker.consume,
                queues,
                in_hand.hearing(),
                worker=self._name,
                lease=self._lease,
                max_crashes=self._max_crashes,
            )
            async with start.entered(consume) as source:
                if source is None:
                    return
                settler = Settler(source, app.store, outage, app.clock)
                endings = Endings(settler, outage, _BESIDE * self._max_jobs)
                desk = Desk(app.tasks, state, settler, tally, self._name, app.clock, in_hand.drop, endings)
                async with endings.run(), executor.run() as running:
                    shutdown.drains = running.drain, endings.drain
                    intake = Intake(source, running, desk, in_hand=in_hand, outage=outage, limit=self._limit)
                    _log.info("worker %s: takes from %s", self._name, ", ".join(queues))
                    with shutdown.interruptible():
                        await (intake.take_burst(app.broker, queues) if self._is_burst else intake.take_all())
                    await running.drain()
                    await endings.drain()


def _checked_queues(queues: Iterable[str] | None) -> list[str]:
    if queues is None:
        return []
    listed = [] if isinstance(queues, str) else list(queues)
    if not listed or not all(_is_name(queue) for queue in listed):
        raise RegistrationError(f'queues must be a list of names, got {queues!r}; write queues=["default"]')
    return list(dict.fromkeys(listed))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and is_valid(value)


def _checked_signals(signals: Iterable[int]) -> list[signal.Signals]:
    try:
        return [signal.Signals(number) for number in signals]
    except (TypeError, ValueError) as error:
        raise RegistrationError(
            f"handle_signals must be a list of signals, got {signals!r}: {error}; write handle_signals=[signal.SIGTERM]"
        ) from None


def _checked_burst(burst: object) -> bool:
    # A text that is not empty is true, "no" as well.
    if not isinstance(burst, bool):
        raise RegistrationError(f"burst must be True or False, got {burst!r}")
    return burst


def _made_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


def _checked_name(name: str) -> str:
    if not _is_name(name):
        raise RegistrationError(
            f"name must be a text that is not empty and that UTF-8 can write, got {name!r}; use None to have one made"
        )
    return name
