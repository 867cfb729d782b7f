"""A producer or a worker in a process of its own, to be killed: `python sqlite_child.py produce|work FILE`."""

from __future__ import annotations

import sys

import anyio

from jockey.jobs._broker import Hearing, Succeeded
from jockey.jobs._message import Message
from jockey.jobs.brokers.sqlite import SqliteBroker


async def produce(broker: SqliteBroker) -> None:
    """Publish a few at a time, for ever, and say what is confirmed."""
    number = 0
    while True:
        ids = [f"{number + place}" for place in range(5)]
        await broker.publish([Message(id=id_, name="task") for id_ in ids])
        print(*ids, flush=True)
        number += 5


async def work(broker: SqliteBroker) -> None:
    """Take and settle, for ever, and say what was taken, and what is settled."""
    async with broker.consume(["default"], Hearing(print, print), worker="child", lease=1.0, max_crashes=99) as source:
        while True:
            deliveries = await source.take(7)
            print("taken", *(delivery.id for delivery in deliveries), flush=True)
            for delivery in deliveries:
                await source.settle(delivery, Succeeded(b"1"))
                print("settled", delivery.id, flush=True)


async def main(what: str, path: str) -> None:
    broker = SqliteBroker(path)
    await broker.open()
    await broker.declare("default")
    await (produce if what == "produce" else work)(broker)


anyio.run(main, *sys.argv[1:])
