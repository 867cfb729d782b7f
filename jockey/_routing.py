"""From a message to the handler that is for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jockey._caps import Cap, SlotCap, cap_of
from jockey._job import Job, JobState
from jockey._options import ExecuteIn, Priority
from jockey._route import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from jockey._adapter import Adapter
    from jockey._backends import Pools
    from jockey._handler import Handler
    from jockey._limits import Limit, Rate
    from jockey._registry import Registry
    from jockey._scheduler import Scheduler

AnyJob = Job[Any]


@dataclass(frozen=True, slots=True)
class _BatchKey:
    """Stands for *key* where it is about lists of payloads; no key of a user is equal to it."""

    key: Hashable


_DEFAULT = len(Priority)
"""Behind its routes for each priority stands once more the one for a handler's own priority."""


class Routing:
    """
    All routes of one running executor.

    Args:
        registry: The handlers.
        scheduler: Has the lines to wait in.
        pools: Run the handlers.
        max_threads: A cap for all handlers in threads, with those in interpreters.
        max_processes: A cap for all handlers in processes.
        middleware: What to put around each message, the outermost first.
        crash: Stops the executor, which then raises what it is given.
    """

    def __init__(
        self,
        registry: Registry[Any, Any, Any],
        scheduler: Scheduler,
        pools: Pools,
        *,
        max_threads: int | None,
        max_processes: int,
        middleware: Sequence[Callable[[Adapter[Any, Any, Any]], Adapter[Any, Any, Any]]],
        crash: Callable[[BaseException], object],
    ) -> None:
        self._crash = crash
        self._middleware = tuple(reversed(middleware))
        self._caps: dict[Limit | Rate, Cap] = {}
        self._pool_caps: dict[ExecuteIn, tuple[Cap, ...]] = {
            ExecuteIn.MAIN: (),
            ExecuteIn.THREAD: (SlotCap(max_threads),) if max_threads else (),
            ExecuteIn.PROCESS: (SlotCap(max_processes),),
        }
        self._pool_caps[ExecuteIn.INTERPRETER] = self._pool_caps[ExecuteIn.THREAD]  # each is in a thread
        self._pools = pools
        self._routes: dict[Hashable, tuple[Route, ...]] = {
            key: self._routes_of(key, handler, scheduler, pools) for key, handler in registry.items()
        }

    def route(self, job: AnyJob, priority: Priority | None) -> Hashable:
        """Find the route of *job*, and return its group; or settle that it fails or has no handler."""
        try:
            message = job.message
            if self._middleware:
                for wrap in self._middleware:
                    message = wrap(message)
                job.message = message
            for key in message.get_keys():
                routes = self._routes.get(key)
                if routes is not None:
                    job.route = routes[_DEFAULT if priority is None else priority]
                    group = message.get_group()
                    if group is not None:
                        hash(group)
                    return group
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                self._crash(error)
            job.settle_failed(error)
        else:
            job.settle(JobState.NO_HANDLER, None)
        return None

    def find(self, key: Hashable) -> bool:
        """Return whether *key* has a handler."""
        return key in self._routes

    def route_of(self, key: Hashable) -> Route:
        """Return the route for *key* at its handler's own priority."""
        return self._routes[key][_DEFAULT]

    def batch_key(self, key: Hashable) -> Hashable:
        """
        Return the key for lists of payloads for the handler of *key*, which is sync.

        A batch is one job of that handler, as caps and priorities go; what it returns tells of each payload, see
        `Pools.batch_caller`.
        """
        batch_key = _BatchKey(key)
        if batch_key not in self._routes:
            first, *others = self._routes[key][:_DEFAULT]
            call = self._pools.batch_caller(first.handler, self._pools.place_of(first.handler))
            routes = [Route(key, route.handler, route.priority, route.line, call) for route in (first, *others)]
            self._routes[batch_key] = (*routes, routes[first.handler.options.priority])
        return batch_key

    def by_key(self) -> dict[Hashable, list[Route]]:
        """Return the routes of each key, those of its batches included."""
        found: dict[Hashable, list[Route]] = {}
        for key, routes in self._routes.items():
            own = key.key if isinstance(key, _BatchKey) else key
            found.setdefault(own, []).extend(routes[:_DEFAULT])
        return found

    def _routes_of(
        self, key: Hashable, handler: Handler[Any, Any], scheduler: Scheduler, pools: Pools
    ) -> tuple[Route, ...]:
        place = pools.place_of(handler)
        pool_caps = self._pool_caps[place] if isinstance(place, ExecuteIn) else ()
        caps = (*self._own_cap(handler), *pool_caps, *map(self._shared_cap, handler.options.limits))
        call = pools.caller(handler, place)
        routes = [Route(key, handler, priority, scheduler.line(caps, priority), call) for priority in Priority]
        return (*routes, routes[handler.options.priority])

    def _own_cap(self, handler: Handler[Any, Any]) -> tuple[Cap, ...]:
        return () if handler.options.max_jobs is None else (SlotCap(handler.options.max_jobs),)

    def _shared_cap(self, limit: Limit | Rate) -> Cap:
        if limit not in self._caps:
            self._caps[limit] = cap_of(limit)
        return self._caps[limit]
