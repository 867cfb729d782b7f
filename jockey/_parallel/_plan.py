"""What a map is to do, checked at the line where the user wrote it."""

from __future__ import annotations

import math
import sys
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from jockey import _validation
from jockey._backends import cpu_count
from jockey._backends._guard import check_not_preparing_main
from jockey._caps import SlotCap
from jockey._engine import Settings
from jockey._errors import RegistrationError
from jockey._handler import home_of
from jockey._options import ExecuteIn
from jockey._parallel._batching import AutoBatching, FixedBatching
from jockey._parallel._once import once_in_each_thread
from jockey._parallel._progress import check_progress
from jockey._parallel._window import OnError, Window
from jockey._registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jockey._engine import Engine
    from jockey._handler import Handler
    from jockey._job import Job
    from jockey._parallel._batching import Batching
    from jockey._parallel._progress import Tell
    from jockey._route import Route
    from jockey._validation import Seconds

BatchSize = int | Literal["auto"]
Place = ExecuteIn | Executor

KEY: Final = "map"
"""Of the one handler of a map with an executor of its own."""

_ELSEWHERE: Final = {ExecuteIn.PROCESS, ExecuteIn.INTERPRETER}
"""Where functions are found by their names, and compute side by side."""

_WAITING: Final = 16
"""So many jobs run at once where they are thought to wait rather than to compute."""

_GRACE: Final = 1.0
"""Seconds that threads have to end when nobody wants their results any more."""


@dataclass(frozen=True)
class Plan:
    """The choices that concern the items, not where they run."""

    ordered: bool
    batch: BatchSize
    on_error: OnError
    window: int | None
    progress: bool | Tell | None

    def __post_init__(self) -> None:
        if not isinstance(self.ordered, bool):
            raise RegistrationError(f"ordered must be True or False, got {self.ordered!r}")
        if self.batch != "auto":
            if isinstance(self.batch, str):
                raise RegistrationError(f"batch must be a number of items or 'auto', got {self.batch!r}")
            _validation.count("batch", self.batch)
        if self.on_error not in get_args(OnError):
            raise RegistrationError(f"on_error must be one of {', '.join(get_args(OnError))}, got {self.on_error!r}")
        if self.window is not None:
            _validation.count("window", self.window, least=1 if self.batch == "auto" else self.batch)
        check_progress(self.progress)

    def is_single(self, *, may_batch: bool) -> bool:
        """Return whether each job runs one item; *may_batch* is for the user who has left it to us."""
        return self.batch == 1 or (self.batch == "auto" and not may_batch)

    def window_of(self, workers: int, total: int | None, *, may_batch: bool) -> Window:
        """Return the window for so many workers; for *may_batch* see `is_single`."""
        max_batches = 2 * workers
        batching: Batching
        if self.batch != "auto":
            batching = FixedBatching(self.batch)
        elif not may_batch:
            batching = FixedBatching(1)
        else:
            most = sys.maxsize if self.window is None else max(1, self.window // max_batches)
            batching = AutoBatching(workers, most)
        return Window(
            batching,
            max_batches=max_batches,
            size=self.window,
            ordered=self.ordered,
            on_error=self.on_error,
            total=total,
        )


@dataclass(frozen=True)
class OwnPlan:
    """What a map with an executor of its own needs beyond that."""

    choices: Plan
    registry: Registry[Any, Any, Any]
    workers: int
    may_batch: bool
    initializer: Callable[..., object] | None
    initargs: tuple[object, ...]

    def settings(self, on_error: Callable[[BaseException, Job[Any]], object]) -> Settings:
        """Return those of the executor."""
        return Settings(
            max_jobs=self.workers,
            max_threads=None,
            max_processes=self.workers,
            max_jobs_per_process=None,
            max_jobs_per_group=1,
            max_backlog=math.inf,
            drain_timeout=None,
            grace=_GRACE,
            blocked_after=math.inf,
            on_error=on_error,
            middleware=(),
            initializer=self.initializer,
            initargs=self.initargs,
        )


def plan_of(
    function: Callable[[Any], Any],
    choices: Plan,
    *,
    execute_in: Place | None,
    max_jobs: int | None,
    timeout: Seconds | None,
    initializer: Callable[..., object] | None,
    initargs: Iterable[object],
) -> OwnPlan:
    """
    Return the plan for a map with an executor of its own.

    Raises:
        RegistrationError: Something makes no sense, or cannot run where it is to run.
    """
    check_not_preparing_main()
    if not callable(function):
        raise RegistrationError(f"map needs a function, got {function!r}")
    timeout = _validation.optional_seconds("timeout", timeout)
    registry, handler = _registered(function, ExecuteIn.MAIN if execute_in is None else execute_in, timeout)
    if execute_in is None and not handler.is_async:
        registry, handler = _registered(function, ExecuteIn.PROCESS, timeout)
    place = handler.options.execute_in
    if isinstance(place, ExecuteIn) and place in _ELSEWHERE:
        _check_importable(handler)
        handler.check_picklable(place)
    _check_timeout(choices.batch, timeout)
    check_batch(choices.batch, handler)
    arguments = _check_initializer(place, initializer, initargs)
    if initializer is not None and place is ExecuteIn.THREAD:
        with_it = once_in_each_thread(function, initializer, arguments, is_async=handler.is_async)
        registry, _ = _registered(with_it, place, timeout)
        initializer = None
    return OwnPlan(
        choices,
        registry,
        workers=_validation.optional_count("max_jobs", max_jobs) or _workers_of(place),
        may_batch=timeout is None and _can_batch(handler),
        initializer=initializer,
        initargs=arguments,
    )


def may_batch(handler: Handler[Any, Any]) -> bool:
    """Return whether a batch may be one job of *handler*, without any of its options coming to mean something else."""
    options = handler.options
    has_meaning = options.job_timeout is not None or options.pulse_every is not None or bool(options.limits)
    return not has_meaning and _can_batch(handler)


def check_batch(batch: BatchSize, handler: Handler[Any, Any]) -> None:
    """Raise `RegistrationError` if *handler* cannot run batches."""
    if batch not in (1, "auto") and not _can_batch(handler):
        raise RegistrationError(
            f"batch must be 1 or 'auto' for what is async or runs in MAIN, got {batch!r}; there, a batch saves nothing"
        )


def _registered(
    function: Callable[[Any], Any], execute_in: Any, timeout: Seconds | None
) -> tuple[Registry[Any, Any, Any], Handler[Any, Any]]:
    registry = Registry[Any, Any, Any]()
    registry.add(KEY, execute_in=execute_in, job_timeout=timeout)(function)
    (handler,) = (handler for _, handler in registry.items())
    return registry, handler


def _can_batch(handler: Handler[Any, Any]) -> bool:
    place = handler.options.execute_in
    has_no_workers = sys.platform == "emscripten" and isinstance(place, ExecuteIn)  # then all is run in MAIN
    return place is not ExecuteIn.MAIN and not has_no_workers and not handler.is_async


def _check_importable(handler: Handler[Any, Any]) -> None:
    if home_of(handler.function) == "__main__" and not _is_main_importable():
        raise RegistrationError(
            f"{handler} was defined in an interactive session, where no other process can find it; put it in a module "
            "and import it, or use ExecuteIn.THREAD, or pass execute_in=loky.get_reusable_executor(), which can send it"
        )


def _is_main_importable() -> bool:
    # A script is imported again where its functions are needed; what was typed in is nowhere to be found.
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name.partition(".")[0] != "_pyrepl"  # the prompt of Python 3.13
    return Path(getattr(main, "__file__", None) or "").is_file()  # from standard input it is "<stdin>"


def _check_timeout(batch: BatchSize, timeout: Seconds | None) -> None:
    if timeout is not None and batch not in (1, "auto"):
        raise RegistrationError(
            f"timeout is for each item, but a batch is run in one go: batch must be 1 or 'auto' with it, got {batch!r}"
        )


def _check_initializer(
    place: Place, initializer: Callable[..., object] | None, initargs: Iterable[object]
) -> tuple[object, ...]:
    _validation.initializer(initializer)
    if initializer is not None and (place is ExecuteIn.MAIN or not isinstance(place, ExecuteIn)):
        raise RegistrationError(
            "initializer is for workers of jockey's own, threads and processes; "
            f"not for {place if isinstance(place, ExecuteIn) else type(place).__qualname__}: set up what you need there"
        )
    return _validation.initargs(initargs)


def workers_in(engine: Engine, route: Route) -> int:
    """Return how many jobs of *route* run in *engine* at once."""
    sizes = [cap.size for cap in route.line.caps if isinstance(cap, SlotCap)]
    most = min(engine.settings.max_jobs, *sizes, math.inf)
    return _WAITING if math.isinf(most) else int(most)


def _workers_of(place: Place) -> int:
    if isinstance(place, ExecuteIn):
        return cpu_count() if place in _ELSEWHERE else _WAITING
    told: object = getattr(place, "_max_workers", None)
    return told if isinstance(told, int) and told > 0 else _WAITING
