"""How long a claim takes in a file with many waiting jobs."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jockey.jobs import Message
from jockey.jobs._broker import Hearing, Released
from jockey.jobs.brokers.sqlite import SqliteBroker

if TYPE_CHECKING:
    from jockey.jobs._broker import Delivery

_folder = tempfile.TemporaryDirectory()
"""Kept from round to round: to fill a file takes longer than to measure."""


def latency(rows: int, claims: int) -> dict[str, float]:
    """Measure one claim at a time; the median of all."""
    path = Path(_folder.name) / f"{rows}.db"
    return asyncio.run(_latency(path, 0 if path.exists() else rows, claims))


async def _latency(path: Path, missing: int, claims: int) -> dict[str, float]:
    broker = SqliteBroker(str(path))
    await broker.open()
    try:
        if missing:
            await broker.declare("default")
            await broker.publish([Message(id="0", name="noop", args=(1,))])
            _copy_first(path, missing)
        return {"seconds": statistics.median(await _claims(broker, claims))}
    finally:
        await broker.close()


async def _claims(broker: SqliteBroker, claims: int) -> list[float]:
    seconds: list[float] = []
    async with broker.consume(["default"], _HEARING, worker="w", lease=600.0, max_crashes=3) as source:
        for _ in range(claims):
            started = time.perf_counter()
            (delivery,) = await source.take(1)
            seconds.append(time.perf_counter() - started)
            # Back in its place, so that there are as many as before.
            await source.settle_many([(delivery, Released())])
    return seconds


def _copy_first(path: Path, jobs: int) -> None:
    """Make so many jobs of the one that is there: to a claim it makes no difference who wrote them."""
    with sqlite3.connect(path) as connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(jockey_jobs)")]
        others = ", ".join(name for name in columns if name not in {"seq", "id"})
        numbers = "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers LIMIT ?)"
        copies = f"SELECT CAST(number AS TEXT), {others} FROM numbers, jockey_jobs WHERE id = '0'"  # noqa: S608 - ours
        connection.execute(f"{numbers} INSERT INTO jockey_jobs (id, {others}) {copies}", (jobs - 1,))
    connection.close()


def _ignore(_delivery: Delivery, _reason: str = "", /) -> None:
    pass


_HEARING = Hearing(on_cancel=_ignore, on_lost=_ignore)
