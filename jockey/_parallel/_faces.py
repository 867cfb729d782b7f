"""`map` and `amap`: what users call."""

# ruff: noqa: A001 - the builtin does the same, one by one

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from jockey._errors import RegistrationError
from jockey._parallel import _async, _sync
from jockey._parallel._plan import Plan, plan_of
from jockey._parallel._source import iterator_of, source_of, total_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
    from concurrent.futures import Executor

    from jockey._options import ExecuteIn
    from jockey._parallel._plan import BatchSize
    from jockey._parallel._progress import Tell
    from jockey._parallel._window import OnError
    from jockey._validation import Seconds

Item = TypeVar("Item")
Result = TypeVar("Result")


# An async function, which runs in the event loop or in threads; and where it does not run, there is nothing to iterate.
# Then a plain one. Of each two the first is for errors that are returned. They overlap, since an async function is also
# a plain one that returns a coroutine: type checkers take the first that fits, which is what is meant.
@overload
def map(
    function: Callable[[Item], Awaitable[Result]],
    items: Iterable[Item],
    *,
    execute_in: Literal[ExecuteIn.MAIN, ExecuteIn.THREAD] | None = None,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: Literal["return"],
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> Generator[Result | Exception, None, None]: ...
@overload
def map(
    function: Callable[[Item], Awaitable[Result]],
    items: Iterable[Item],
    *,
    execute_in: Literal[ExecuteIn.MAIN, ExecuteIn.THREAD] | None = None,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: Literal["raise", "skip"] = "raise",
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> Generator[Result, None, None]: ...
@overload
def map(  # type: ignore[overload-overlap]
    function: Callable[[Item], Awaitable[Result]],
    items: Iterable[Item],
    *,
    execute_in: Literal[ExecuteIn.PROCESS, ExecuteIn.INTERPRETER] | Executor,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: OnError = "raise",
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> None: ...
@overload
def map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    execute_in: ExecuteIn | Executor | None = None,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: Literal["return"],
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> Generator[Result | Exception, None, None]: ...
@overload
def map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    execute_in: ExecuteIn | Executor | None = None,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: Literal["raise", "skip"] = "raise",
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> Generator[Result, None, None]: ...
def map(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    execute_in: ExecuteIn | Executor | None = None,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: OnError = "raise",
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> Generator[Any, None, None] | None:
    """
    Call *function* with each of *items*, many at once, and yield the results.

    For code without an event loop; in a coroutine it works, but blocks the loop: use `amap` there. The arguments are
    checked at once, the work starts with the first result that is asked for. What is done is bounded: items are read,
    in the thread that iterates, only as they are needed, so they may be endless.

    When the loop over the results is left, by `break`, an exception or Ctrl-C, what has not ended is cancelled, and
    worker processes are killed and gone before the program goes on. So too when the iterator is closed or collected.

    Args:
        function: Takes one item. For worker processes it must be importable, from a module or from the script itself.
        items: Any iterable. What it raises is raised after the results of the items that it gave before.
        execute_in:
            A member of `ExecuteIn`, or any executor of `concurrent.futures`, which is not shut down. By default
            PROCESS, and MAIN for an async function.
        max_jobs:
            How many run at once. By default one for each processor in PROCESS and INTERPRETER, as many as an executor
            tells it has workers, and 16 elsewhere.
        ordered: Whether the results come in the order of the items; else as soon as they are there.
        batch:
            How many items travel together and are run one after the other. "auto" starts with one and adapts the number
            so that a batch takes about 40 ms.
        on_error:
            What happens when an item fails. "raise" raises its own exception in the item's place, with a note that
            names the item, and cancels the rest; "return" yields the exception; "skip" leaves the item out.
        timeout:
            Seconds that each item may take before it fails with `JobTimeoutError`. Then a batch is one item. The start
            of a worker process does not count.
        window:
            How many items may have been read and not been yielded; by default 1024, or more if batches are big. When
            one item takes long, so many results wait behind it.
        progress:
            True shows a bar with rate and remaining time on stderr if that is a terminal; it needs the extra
            `jockey[progress]`. Or a function of the number of items done, and of all items, None if they do not tell;
            it is called in the thread that iterates.
        initializer: Is called once in each worker (process, interpreter or thread) before its first item.
        initargs: The arguments of *initializer*, in order.

    Raises:
        RegistrationError: An argument makes no sense, or *function* cannot run there. Raised by the call itself.
        InitializerError: The initializer raised, whatever *on_error* says.
        Exception: What an item failed with, or what *items* or *progress* raised.
    """
    plan = plan_of(
        function,
        Plan(ordered, batch, on_error, window, progress),
        execute_in=execute_in,
        max_jobs=max_jobs,
        timeout=timeout,
        initializer=initializer,
        initargs=initargs,
    )
    if sys.platform == "emscripten":
        raise RegistrationError("map needs a thread for its event loop, and there are none here; use jockey.amap")
    if isinstance(items, AsyncIterable):
        raise RegistrationError(f"map reads no async iterable, got {items!r}; use `async for` with jockey.amap")
    return _sync.iterate(plan, iterator_of(items), total_of(items))


@overload
def amap(
    function: Callable[[Item], Awaitable[Result]],
    items: Iterable[Item] | AsyncIterable[Item],
    *,
    execute_in: Literal[ExecuteIn.MAIN, ExecuteIn.THREAD] | None = None,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: Literal["return"],
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> AsyncGenerator[Result | Exception, None]: ...
@overload
def amap(
    function: Callable[[Item], Awaitable[Result]],
    items: Iterable[Item] | AsyncIterable[Item],
    *,
    execute_in: Literal[ExecuteIn.MAIN, ExecuteIn.THREAD] | None = None,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: Literal["raise", "skip"] = "raise",
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> AsyncGenerator[Result, None]: ...
@overload
def amap(  # type: ignore[overload-overlap]
    function: Callable[[Item], Awaitable[Result]],
    items: Iterable[Item] | AsyncIterable[Item],
    *,
    execute_in: Literal[ExecuteIn.PROCESS, ExecuteIn.INTERPRETER] | Executor,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: OnError = "raise",
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> None: ...
@overload
def amap(
    function: Callable[[Item], Result],
    items: Iterable[Item] | AsyncIterable[Item],
    *,
    execute_in: ExecuteIn | Executor | None = None,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: Literal["return"],
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> AsyncGenerator[Result | Exception, None]: ...
@overload
def amap(
    function: Callable[[Item], Result],
    items: Iterable[Item] | AsyncIterable[Item],
    *,
    execute_in: ExecuteIn | Executor | None = None,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: Literal["raise", "skip"] = "raise",
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> AsyncGenerator[Result, None]: ...
def amap(
    function: Callable[[Any], Any],
    items: Iterable[Any] | AsyncIterable[Any],
    *,
    execute_in: ExecuteIn | Executor | None = None,
    max_jobs: int | None = None,
    ordered: bool = True,
    batch: BatchSize = "auto",
    on_error: OnError = "raise",
    timeout: Seconds | None = None,
    window: int | None = None,
    progress: bool | Tell | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[object] = (),
) -> AsyncGenerator[Any, None] | None:
    """
    Call *function* with each of *items*, many at once, and yield the results: `map` for code in an event loop.

    The arguments are those of `map`; *items* may be an async iterable too, which is read in a task of its own, and
    closed in the end if it is a generator. Other items are read in the event loop.

    An async generator that is left before its end is closed by the event loop, at some time: use
    `contextlib.aclosing` if the workers shall be gone when the loop over the results has been left.
    """
    plan = plan_of(
        function,
        Plan(ordered, batch, on_error, window, progress),
        execute_in=execute_in,
        max_jobs=max_jobs,
        timeout=timeout,
        initializer=initializer,
        initargs=initargs,
    )
    # Nothing that belongs to an event loop is made before the first item is asked for, maybe in another loop.
    return _async.iterate(functools.partial(_async.OwnMap, plan, source_of(items), total_of(items)))
