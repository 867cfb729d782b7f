"""Several things awaited at once, each with an answer or an error of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

Answer = TypeVar("Answer")


async def together(calls: Iterable[Callable[[], Awaitable[Answer]]]) -> list[Answer | Exception]:
    """Call and await all of *calls* at once; return what they return, or raise, in their order."""
    answers: dict[int, Answer | Exception] = {}

    async def answer(place: int, call: Callable[[], Awaitable[Answer]]) -> None:
        try:
            answers[place] = await call()
        except Exception as error:
            answers[place] = error

    async with anyio.create_task_group() as tasks:
        for place, call in enumerate(calls):
            tasks.start_soon(answer, place, call)
    return [answers[place] for place in sorted(answers)]
