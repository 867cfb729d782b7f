"""A producer or a worker in a process of its own, to be killed: `python sqlite_child.py produce|work FILE`."""

from __future__ import annotations

import sys
from typing import Any

import anyio

from jockey.jobs._broker import Hearing, Succeeded
from jockey.jobs._message import Message
from jockey.jobs.brokers.sqlite import SqliteBroker

LEASE = 3600.0
"""Seconds: it does not end by itself when the process stands still for a while."""

AT_ONCE = 7
"""How many jobs are taken."""


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
    terms: Any = {"worker": "child", "lease": LEASE, "max_crashes": 99}
    async with broker.consume(["default"], Hearing(print, print), **terms) as source:
        while True:
            deliveries = await source.take(AT_ONCE)
            print("taken", *(delivery.id for delivery in deliveries), flush=True)
            for delivery in deliveries:
                await source.settle_many([(delivery, Succeeded(b"1"))])
                print("settled", delivery.id, flush=True)


async def main(what: str, path: str) -> None:
    broker = SqliteBroker(path)
    await broker.open()
    await broker.declare("default")
    await (produce if what == "produce" else work)(broker)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
