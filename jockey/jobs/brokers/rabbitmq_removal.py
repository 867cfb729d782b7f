"""Taking out of a queue what waits in it, or is dead, to be told to somebody who may still keep it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from jockey.jobs.brokers.rabbitmq_messages import dead_record_of, id_of, removed_of
from jockey.jobs.brokers.rabbitmq_topology import DEAD, waiting_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection

    from jockey.jobs._broker import Record
    from jockey.jobs._carrier import Removed
    from jockey.jobs.brokers.rabbitmq_client import Arrival, Channel, Parcel
    from jockey.jobs.brokers.rabbitmq_sender import Sender

AT_ONCE: Final = 100
"""How many are taken out together."""


async def removal(sender: Sender, queue: str) -> AsyncGenerator[list[Removed]]:
    """
    Yield what is ready in *queue* now, some at a time; who asks for more has them removed, who closes it keeps them.

    They are asked for one by one: what is pushed to a consumer may still be on its way when that is cancelled.
    """
    async with sender.control() as channel:
        for place in waiting_in(queue):
            left = await channel.size(place)  # what comes from now on stays
            while left and (arrivals := await _next(channel, place, min(left, AT_ONCE))):
                yield [removed_of(arrival, queue, place) for arrival in arrivals]  # noqa: ASYNC119 - always closed
                channel.ack([arrival.tag for arrival in arrivals])
                left -= len(arrivals)


async def _next(channel: Channel, place: str, count: int) -> list[Arrival]:
    arrivals = await asyncio.gather(*(channel.get(place) for _ in range(count)))
    return [arrival for arrival in arrivals if arrival is not None]


async def exhumation(
    sender: Sender, queue: str, wanted: Collection[str], turn_into: Callable[[Arrival, str], Parcel] | None
) -> AsyncGenerator[list[Record], Collection[str]]:
    """
    Yield the *wanted* ones among the dead letters, and then those of them that are removed: whose ids are sent for.

    They are turned into jobs before that, if that is asked for. Who closes it instead keeps them all.
    """
    place = queue + DEAD
    async with sender.control() as channel:
        found: list[Arrival] = []
        while wanted and (arrival := await channel.get(place)):
            if id_of(arrival) in wanted:
                found.append(arrival)
        chosen = yield [dead_record_of(arrival, queue) for arrival in found]  # noqa: ASYNC119 - always closed
        removed = [arrival for arrival in found if id_of(arrival) in chosen]
        if turn_into is not None:
            await sender.send([turn_into(arrival, queue) for arrival in removed])
        if removed:
            channel.ack([arrival.tag for arrival in removed])
        await channel.give_back(place)
        yield [dead_record_of(arrival, queue) for arrival in removed]  # noqa: ASYNC119 - always closed
