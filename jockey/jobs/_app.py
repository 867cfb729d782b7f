"""Tasks, and the broker that carries their jobs."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any, Final, Self, cast

import anyio
from typing_extensions import TypeVar, Unpack

from jockey._errors import RegistrationError
from jockey.jobs import brokers
from jockey.jobs._errors import AppClosedError, ArgumentsError, ResultUnavailableError, UnsupportedError
from jockey.jobs._features import check_features
from jockey.jobs._ids import new_id
from jockey.jobs._job import Job
from jockey.jobs._message import Step
from jockey.jobs._options import DEFAULT_QUEUE, Defaults, JobOptions, job_id, job_settings, queue_name
from jockey.jobs._plain import UnfitError, is_valid, shown, to_plain
from jockey.jobs._queues import DeadLetters, Queues
from jockey.jobs._router import Router
from jockey.jobs._signature import Part, callback_steps, ends_of, lacking, steps_of
from jockey.jobs._workflow import check_length, message_of, place_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from jockey.jobs import _state
    from jockey.jobs._broker import Broker, Published, Record, Store
    from jockey.jobs._carrier import Carrier
    from jockey.jobs._message import Message
    from jockey.jobs._signature import Flow, Trace
    from jockey.jobs._stored import LedgerBroker
    from jockey.jobs._task import Task

State = TypeVar("State", default=None)

CLOSE_GRACE: Final = 10.0
"""Seconds that closing may go on after its caller was cancelled."""


class App(Router[State]):
    """
    An application: its tasks, and where their jobs wait.

    Inside of ``async with app:`` jobs can be enqueued; entering it again, as a worker does, changes nothing.

    Attributes:
        lost: The jobs that had not ended when the app was closed, and are lost with a broker in memory, in the order
            of their arrival; empty while it is open, and with all other brokers.

    Args:
        url: The broker: ``"memory://"`` (the default), ``"sqlite:///path"`` or ``"amqp://..."``; or a broker itself.
        results: Where results and records are kept if the broker cannot do that: the URL of one that can.
        lifespan: Returns an async context manager; each worker enters it once, and what it yields is `Context.state`.
        auto_declare: Whether entering the app declares the queues of its tasks. If not, a queue that is not there is
            an error where a job is enqueued, and where a worker for it starts.
        clock: Returns seconds since the epoch.
        defaults: For all tasks that are declared here; see `Defaults`.

    Raises:
        RegistrationError: An option makes no sense.
        UnsupportedError: There is no broker for such a URL, or it keeps results itself and needs no *results*.
    """

    def __init__(
        self,
        url: str | Broker = "memory://",
        *,
        results: str | Broker | None = None,
        lifespan: Callable[[], AbstractAsyncContextManager[State]] | None = None,
        auto_declare: bool = True,
        clock: Callable[[], float] = time.time,
        **defaults: Unpack[Defaults],
    ) -> None:
        super().__init__(**defaults)
        _check_lifespan(lifespan)
        self._broker = _broker_of(url, results, clock)
        self._has_store = self._broker.features.is_store or results is not None
        self._lifespan = lifespan
        self.auto_declare = auto_declare
        self.clock = clock
        self.queues = Queues(self)
        self.dead = DeadLetters(self)
        self.lost: Sequence[Message] = ()
        self._users = 0
        self._changing: anyio.Lock | None = None
        self._declared: set[str] = set()

    @property
    def broker(self) -> Broker:
        """
        Where jobs wait.

        Raises:
            AppClosedError: The app is not open.
        """
        if not self._users:
            raise AppClosedError(f"{self} is not open; use `async with app:`")
        return self._broker

    @property
    def file(self) -> str | None:
        """The path of the file that opening the app makes if it is not there; None if it needs none."""
        return getattr(self._broker, "path", None)

    @property
    def store(self) -> Store | None:
        """Where results and records are kept; None if nowhere."""
        return cast("Store", self.broker) if self._has_store else None

    def lifespan(self) -> AbstractAsyncContextManager[State]:
        """Return what a worker enters once, and whose value is `Context.state`."""
        if self._lifespan is not None:
            return self._lifespan()
        return cast("AbstractAsyncContextManager[State]", contextlib.nullcontext())

    async def open(self) -> None:
        """
        Connect to the broker, and declare the queues of all tasks; each call needs one of `close`.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        if self._changing is None:
            self._changing = anyio.Lock()  # made here, since it belongs to this event loop
        async with self._changing:
            if not self._users:
                self.lost = ()
                await self._connect()
            self._users += 1

    async def close(self) -> None:
        """Let go of the broker, if `open` has not been called more often than this."""
        if self._changing is None:
            raise AppClosedError(f"{self} is not open; there is nothing to close")
        # What is open must be closed, whoever is cancelled; but not whatever that takes.
        with anyio.move_on_after(CLOSE_GRACE, shield=True):
            async with self._changing:
                self._users -= 1
                if not self._users:
                    self._changing = None
                    self._leave_tasks()
                    self.lost = await self._broker.close() or ()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()  # noqa: ASYNC102 - shielded in there

    async def enqueue(
        self,
        name: str,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
        **options: Unpack[JobOptions],
    ) -> Job[Any]:  # what another program's task returns is not known here
        """
        Enqueue a job of a task by its name, whose code may be elsewhere; if it is here, the arguments are checked.

        Args:
            name: Of the task.
            args: Positional arguments.
            kwargs: Named arguments.
            options: See `JobOptions`; the queue of a task that is not here is "default".

        Raises:
            ArgumentsError: The arguments do not fit the task, or have no place in JSON; nothing was enqueued.
            RegistrationError: An option makes no sense.
            AppClosedError: The app is not open.
            QueueNotDeclaredError: The queue is not there.
            UnsupportedError: The broker cannot do what was asked.
            BrokerUnavailableError: The broker cannot be reached.
        """
        task = self.tasks.get(name)
        if task is None:
            return await self.enqueue_step(None, _strange_step(name, args, kwargs or {}, options))
        task = task.options(**options)
        return await self.enqueue_step(task, task.step(args, kwargs or {}))

    async def enqueue_step(self, task: Task[..., Any] | None, step: Step) -> Job[Any]:  # the task's result
        """Enqueue one job; *task* is what it runs, if that is known here."""
        self.check((step,))
        id_ = step.options.get("id") or new_id()
        published = await self.publish([message_of(step, id_=id_, root=id_, now=self.clock())])
        return Job(self, published[0].id, task, is_new=published[0].is_new)

    async def enqueue_flows(self, flows: Sequence[Flow]) -> list[list[Job[Any]]]:  # the results of the last tasks
        """Enqueue workflows in one go, and return for each of them the jobs at its end."""
        begun = [self._begun(flow) for flow in flows]
        published = iter(await self.publish([message for _, messages in begun for message in messages]))
        return [
            self._ends(flow, root, list(itertools.islice(published, len(messages))))
            for flow, (root, messages) in zip(flows, begun, strict=True)
        ]

    def publish(self, messages: Sequence[Message]) -> Awaitable[Sequence[Published]]:
        """Publish what has been checked, as `Broker.publish` does; declare queues that came when the app was open."""
        broker = self.broker
        if self.auto_declare:
            for message in messages:
                if message.queue not in self._declared:
                    return self._declare_and_publish(messages)
        return broker.publish(messages)

    def check(self, steps: Sequence[Step]) -> None:
        """Raise what `enqueue` raises if the broker cannot do what these say, or there is too much of it."""
        features = self.broker.features
        for step in steps:
            check_features(step, features, self.tasks, has_store=self._has_store)
            check_length((step,))

    def job(self, id: str) -> Job[Any]:  # noqa: A002 - the field's name; nothing is known of the result
        """
        Return a job by its id; whether there is one shows when it is asked for something.

        Raises:
            RegistrationError: *id* is no text that can be written, or it is empty.
        """
        return Job(self, job_id(id))

    def records(self, *, queue: str | None = None, state: _state.State | None = None) -> AsyncIterator[Record]:
        """
        Return what is known of many jobs, the newest first.

        Raises:
            RegistrationError: *queue* is no text that can be written, or it is empty.
            ResultUnavailableError: The app has no store.
        """
        if queue is not None:
            queue_name(queue)
        if self.store is None:
            raise ResultUnavailableError(
                f"{self} keeps no records of jobs; give it a store: App(..., results='sqlite:///results.db')"
            )
        return self.store.records(queue=queue, state=state)

    def __repr__(self) -> str:
        # Not the URL, which may have a password.
        state = "open" if self._users else "closed"
        return f"<{type(self).__name__} on {type(self._broker).__name__}, {len(self.tasks)} tasks, {state}>"

    async def _connect(self) -> None:
        await self._broker.open()
        try:
            if self.auto_declare:
                await self._declare_queues(queue for task in self.tasks.values() for queue in task.queues)
        except BaseException:
            self._declared.clear()
            with anyio.move_on_after(CLOSE_GRACE, shield=True):
                await self._broker.close()
            raise
        for task in self.tasks.values():
            task.declaration.apps.append(self)

    def _leave_tasks(self) -> None:
        self._declared.clear()
        for task in self.tasks.values():
            task.declaration.apps.remove(self)

    def _insert(self, task: Task[..., Any]) -> None:
        replaced = self.tasks.get(task.name)
        super()._insert(task)
        if self._users and replaced is not task:
            task.declaration.apps.append(self)
            if replaced is not None:
                replaced.declaration.apps.remove(self)

    async def _declare_queues(self, queues: Iterable[str]) -> None:
        for queue in queues:
            if queue not in self._declared:
                await self._broker.declare(queue)
                self._declared.add(queue)

    async def _declare_and_publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        known = {queue for task in self.tasks.values() for queue in task.queues}
        await self._declare_queues(message.queue for message in messages if message.queue in known)
        return await self.broker.publish(messages)

    def _begun(self, flow: Flow) -> tuple[str, list[Message]]:
        """Return what the ids in a workflow are derived from, and the messages that begin it."""
        if flow.takes:
            raise lacking(flow)
        steps = steps_of(flow.elements)
        self.check(steps)
        now = self.clock()
        if len(steps) == 1:
            root = steps[0].options.get("id") or new_id()
            return root, [message_of(steps[0], id_=root, root=root, now=now)]
        root = new_id()
        return root, [
            message_of(step, id_=place_id(root, place), root=root, now=now) for place, step in enumerate(steps)
        ]

    def _ends(self, flow: Flow, root: str, published: Sequence[Published]) -> list[Job[Any]]:
        first = flow.elements[0]
        if len(flow.elements) == 1 and isinstance(first, Part):
            return [Job(self, published[0].id, first.task, is_new=published[0].is_new)]
        is_new = any(one.is_new for one in published)
        if len(published) == 1:
            root = published[0].id  # that of another job, if it duplicates one
        ends = ends_of(flow.elements, lambda place: published[place].id, root)
        return [self._job_of(trace, is_new=is_new) for trace in ends]

    def _job_of(self, trace: Trace, *, is_new: bool) -> Job[Any]:
        after = [self._job_of(other, is_new=is_new) for other in trace.after]
        return Job(self, trace.id, trace.task, is_new=is_new, after=after)


def _strange_step(name: str, args: Sequence[object], kwargs: Mapping[str, object], options: Mapping[str, Any]) -> Step:
    """Return the step for a task that is not known here."""
    settings = job_settings(options)
    if not isinstance(name, str) or not name:
        raise ArgumentsError(f"a task is enqueued by its name, got {name!r}; a Task has its own enqueue()")
    if not is_valid(name):
        raise ArgumentsError(f"the name of a task must be a text that UTF-8 can write, got {name!r}")
    try:
        plain_args, plain_kwargs = to_plain(tuple(args)), to_plain(dict(kwargs))
    except UnfitError as error:
        raise ArgumentsError(
            f"the arguments of task {name!r} do not fit: {error}; got {shown((args, kwargs))}"
        ) from error
    plain = settings.to_plain()
    return Step(
        name=name,
        queue=plain.pop("queue", DEFAULT_QUEUE),
        args=plain_args,
        kwargs=plain_kwargs,
        options=plain,
        on_success=callback_steps(settings.on_success),
        on_failure=callback_steps(settings.on_failure),
    )


def _check_lifespan(lifespan: object) -> None:
    # What such a function returns can be called as well, and means something else.
    if lifespan is not None and (not callable(lifespan) or hasattr(lifespan, "__aenter__")):
        raise RegistrationError(
            f"lifespan must be a function that returns an async context manager, got {lifespan!r}; "
            "leave out the parentheses"
        )


def _connected(what: str, url: object, clock: Callable[[], float]) -> Broker:
    if isinstance(url, str):
        return brokers.connect(url, clock=clock)
    if not hasattr(url, "features"):
        raise UnsupportedError(f"{what} must be a URL, such as 'sqlite:///jobs.db', got {url!r}")
    return cast("Broker", url)


def _broker_of(url: str | Broker, results: str | Broker | None, clock: Callable[[], float]) -> Broker:
    broker = _connected("a broker", url, clock)
    if results is None:
        return broker
    if broker.features.is_store:
        raise UnsupportedError(f"{type(broker).__name__} keeps results itself; leave out results={results!r}")
    store = _connected("results", results, clock)
    if not store.features.is_store:
        raise UnsupportedError(f"{type(store).__name__} keeps no results; use results='sqlite:///results.db'")
    from jockey.jobs._stored import Stored  # noqa: PLC0415 - few need it

    return Stored(cast("Carrier", broker), cast("LedgerBroker", store))
