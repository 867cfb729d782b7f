"""Which handler is for which key."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Generic, ParamSpec, Protocol, TypeVar, overload

from jockey._errors import RegistrationError
from jockey._handler import Handler, check_options
from jockey._options import ExecuteIn, Priority
from jockey._types import Key, Payload, PayloadIn, PayloadOut, Result, ResultIn, ResultOut

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Awaitable, Callable, Generator, Iterable
    from typing import Literal

    from jockey._limits import Limit, Rate
    from jockey._validation import Seconds

Params = ParamSpec("Params")
Returned = TypeVar("Returned", covariant=True)


# The second overload fulfils whatever is asked of the first: so pyright takes the payload for unused.
class HandlerFunction(Protocol[PayloadIn, ResultOut, Params, Returned]):  # pyright: ignore[reportInvalidTypeVarUse]
    """
    What can be registered: it takes a payload and returns a result, whatever else it can do.

    What has overloads must do what each of them says. So the first one is the demand, and the second one, which
    everything fulfils, learns the exact type: with the names of parameters, their defaults, and types that are wider
    or narrower than demanded.
    """

    @overload
    def __call__(self, payload: PayloadIn, /) -> ResultOut: ...
    @overload
    def __call__(self, *args: Params.args, **kwargs: Params.kwargs) -> Returned: ...


class Add(Protocol[PayloadOut, ResultIn]):
    """The decorator that `Registry.add` returns."""

    def __call__(
        self, function: HandlerFunction[PayloadOut, ResultIn, Params, Returned], /
    ) -> Callable[Params, Returned]:
        """Register *function* and return it."""
        ...


class Registry(Generic[Payload, Key, Result]):
    """
    The handlers of an application, by key.

    One registry serves any number of executors, also at the same time. It cannot be changed while it is in use.
    """

    def __init__(self) -> None:
        self._handlers: dict[Key, Handler[Payload, Result]] = {}
        self._limits: dict[str, Limit | Rate] = {}
        self._users = 0

    # Async functions run in the event loop and in threads alone; where it is not known that the place is one of these,
    # they are refused.
    @overload
    def add(
        self,
        key: Key,
        *,
        execute_in: Literal[ExecuteIn.MAIN, ExecuteIn.THREAD] = ExecuteIn.MAIN,
        max_jobs: int | None = None,
        job_timeout: Seconds | None = None,
        pulse_every: Seconds | None = None,
        priority: Priority = Priority.NORMAL,
        limits: Iterable[Limit | Rate] = (),
    ) -> Add[Payload, Result | Awaitable[Result]]: ...
    @overload
    def add(
        self,
        key: Key,
        *,
        execute_in: ExecuteIn | concurrent.futures.Executor,
        max_jobs: int | None = None,
        job_timeout: Seconds | None = None,
        pulse_every: Seconds | None = None,
        priority: Priority = Priority.NORMAL,
        limits: Iterable[Limit | Rate] = (),
    ) -> Add[Payload, Result]: ...
    def add(
        self,
        key: Key,
        *,
        execute_in: ExecuteIn | concurrent.futures.Executor = ExecuteIn.MAIN,
        max_jobs: int | None = None,
        job_timeout: Seconds | None = None,
        pulse_every: Seconds | None = None,
        priority: Priority = Priority.NORMAL,
        limits: Iterable[Limit | Rate] = (),
    ) -> Add[Payload, Result]:
        """
        Register the decorated function as the handler for *key*, and return that very function.

        Args:
            key: What `Adapter.get_keys` must yield for this handler to be chosen.
            execute_in:
                Where the function runs: a member of `ExecuteIn`, or an executor of `concurrent.futures`, also one of
                another library. Such an executor stays yours: it is never shut down. Async functions run in MAIN and
                THREAD only.
            max_jobs: How many jobs of this handler run at once; None is no cap.
            job_timeout:
                Seconds from the start of the job until it is stopped and reported as `JobTimeoutError`. Covers
                `Adapter.get_payload` and the function; waiting for a slot does not count, and the start of a worker
                process neither. None is no limit.
            pulse_every: Seconds between calls of `Adapter.on_pulse` while the function runs; None is never.
            priority: The priority of its jobs, unless `schedule` is told another.
            limits: Caps that this handler shares with others.

        Raises:
            RegistrationError: *key* is taken, the registry is in use, an option makes no sense, or the function cannot
                run in the place that *execute_in* names.
        """
        options = check_options(
            execute_in=execute_in,
            max_jobs=max_jobs,
            job_timeout=job_timeout,
            pulse_every=pulse_every,
            priority=priority,
            limits=limits,
        )
        self._check_key(key)

        def register(
            function: HandlerFunction[Payload, Result | Awaitable[Result], Params, Returned], /
        ) -> Callable[Params, Returned]:
            self._insert(key, Handler[Payload, Result].of(function, options))
            return function

        return register

    def include(self, other: Registry[Payload, Key, Result]) -> None:
        """
        Add all handlers that *other* has now.

        Raises:
            RegistrationError: A key is taken, a name means two limits, or this registry is in use; nothing was added.
        """
        if not isinstance(other, Registry):
            raise RegistrationError(f"only a jockey.Registry can be included, got {other!r}")
        for key, handler in other.items():
            self._check_key(key)
            self._check_limits(handler.options.limits)
        for key, handler in other.items():
            self._insert(key, handler)

    def find(self, key: Key) -> Handler[Payload, Result] | None:
        """Return the handler for *key*, or None."""
        return self._handlers.get(key)

    def items(self) -> Iterable[tuple[Key, Handler[Payload, Result]]]:
        """Return all keys with their handlers, in the order in which they were added."""
        return self._handlers.items()

    @contextlib.contextmanager
    def in_use(self) -> Generator[None]:
        """Refuse changes inside the block."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    def __len__(self) -> int:
        return len(self._handlers)

    def __contains__(self, key: object) -> bool:
        return key in self._handlers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._handlers))})"

    def _check_key(self, key: Key) -> None:
        if self._users:
            raise RegistrationError(
                f"cannot add {key!r}: the registry is in use; register all handlers before Executor.run()"
            )
        try:
            taken = self._handlers.get(key)
        except TypeError as error:
            raise RegistrationError(f"a key must be hashable, got {key!r}; use a string or a tuple") from error
        if taken:
            raise RegistrationError(f"the key {key!r} is taken by {taken}; choose another key")

    def _insert(self, key: Key, handler: Handler[Payload, Result]) -> None:
        self._check_key(key)
        self._limits = self._check_limits(handler.options.limits)
        self._handlers[key] = handler

    def _check_limits(self, limits: Iterable[Limit | Rate]) -> dict[str, Limit | Rate]:
        known = dict(self._limits)
        for limit in limits:
            other = known.setdefault(limit.name, limit)
            if other != limit:
                raise RegistrationError(f"two limits have the name {limit.name!r}: {other} and {limit}; rename one")
        return known
