"""A batch for worker processes: one job, until it turns out that an item is to blame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jockey._backends._batch import Failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True, slots=True)
class Blame:
    """
    Why a list of items has no outcomes.

    Attributes:
        error: What happened.
        index: The item that is to blame; None when that is not known.
    """

    error: Exception
    index: int | None = None


async def run_in_parts(run: Callable[[list[Any]], Awaitable[list[Any] | Blame]], items: list[Any]) -> list[Any]:
    """
    Return the outcomes of *items*, in their order.

    Args:
        run:
            Returns the outcomes of a list of items, or who is to blame that there are none: then the others are run
            again without that item, and one by one when it is not known.
        items: What to run.
    """
    outcomes: list[Any] = [None] * len(items)
    # The next one last. Those before the guilty one do not run again for the sake of those behind it.
    parts = [(0, len(items))]
    while parts:
        start, end = parts.pop()
        if start == end:
            continue
        ended = await run(items[start:end])
        if not isinstance(ended, Blame):
            outcomes[start:end] = ended
        elif ended.index is None and end - start > 1:
            parts.extend((index, index + 1) for index in reversed(range(start, end)))
        else:
            guilty = start + (ended.index or 0)
            outcomes[guilty] = Failed(ended.error)
            parts += [(guilty + 1, end), (start, guilty)]
    return outcomes
