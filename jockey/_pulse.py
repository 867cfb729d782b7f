"""A handler, and beside it the pulse of its message."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio

from jockey._job import current_job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sized

    Report = Callable[[BaseException], object]


async def with_pulse(
    awaitable: Awaitable[Any], on_pulse: Callable[[], Awaitable[None]], every: float, report: Report
) -> Any:  # the result of whatever handler
    """
    Await *awaitable* while *on_pulse* is called every so many seconds, and return only when no pulse runs any more.

    What a pulse raises goes to *report*, and pulses go on.
    """
    ended: list[tuple[Any, BaseException | None]] = []
    try:
        async with anyio.create_task_group() as beside:
            beside.start_soon(_pulse, on_pulse, every, report, ended)
            ended.append(await _caught(awaitable))
            beside.cancel_scope.cancel()
    except anyio.get_cancelled_exc_class():
        pass  # the handler has heard of it, and how it has ended is known
    result, error = ended[0]
    if error is not None:
        raise error
    return result


async def _caught(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    # An exception that left the task group would come out in a group; this way it arrives as it was raised.
    try:
        return await awaitable, None
    except BaseException as error:
        return None, error


async def _pulse(on_pulse: Callable[[], Awaitable[None]], every: float, report: Report, ended: Sized) -> None:
    current_job.set(None)  # the handler goes on: what a pulse waits for must not be given the slot of the handler
    while True:
        await anyio.sleep(every)
        if ended:
            return  # the handler has ended in the very turn of the loop in which the next pulse was due
        try:
            await on_pulse()
        except BaseException as error:
            if isinstance(error, anyio.get_cancelled_exc_class()) and anyio.current_effective_deadline() == -math.inf:
                raise
            report(error)
