"""repid 1, in memory and through RabbitMQ; its worker runs as many jobs at once as it does by default."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from tests.benchmarks.contenders.queue_marks import Marks
from tests.benchmarks.contenders.queue_producers import enqueue
from tests.benchmarks.contenders.queue_rabbitmq import deleted

# Imported by name, because they may be absent where types are checked.
repid: Any = importlib.import_module("repid")
converters: Any = importlib.import_module("repid.converter")
DISTRIBUTION = "repid"


def memory(jobs: int) -> dict[str, float]:
    """Measure the processor's time for jobs in memory."""
    return asyncio.run(_memory(jobs))


async def _memory(jobs: int) -> dict[str, float]:
    async with repid.Repid(repid.Connection(repid.InMemoryMessageBroker())).magic(auto_disconnect=True):
        await repid.Queue().declare()
        started = time.process_time()
        for payload in range(jobs):
            await repid.Job("noop", args={"payload": payload}).enqueue()
        await _worker(Marks(jobs), jobs, "default").run()
        return {"seconds": time.process_time() - started}


def rabbitmq(url: str, queue: str, jobs: int, producers: int) -> dict[str, float]:
    """Measure jobs through RabbitMQ: first all are enqueued, then all are worked off."""
    with deleted(url, [queue, f"{queue}:delayed", f"{queue}:dead"]):
        return asyncio.run(_rabbitmq(url, queue, jobs, producers))


async def _rabbitmq(url: str, queue: str, jobs: int, producers: int) -> dict[str, float]:
    marks = Marks(jobs)
    async with repid.Repid(repid.Connection(repid.RabbitMessageBroker(url))).magic(auto_disconnect=True):
        await repid.Queue(queue).declare()

        async def send(payload: int) -> None:
            await repid.Job("noop", queue=queue, args={"payload": payload}).enqueue()

        started = time.perf_counter()
        await enqueue(send, jobs, producers)
        enqueued = time.perf_counter() - started
        await _worker(marks, jobs, queue, tasks_limit=16).run()
    return {"enqueue": enqueued, "work": marks.seconds}


def _worker(marks: Marks, jobs: int, queue: str, **options: Any) -> Any:
    router = repid.Router()

    # The converter that is chosen where pydantic is not installed: the other one fails with the newest pydantic.
    @router.actor(queue=queue, converter=converters.BasicConverter)
    async def noop(payload: int) -> int:
        marks.note()
        return payload

    return repid.Worker(routers=[router], messages_limit=jobs, handle_signals=[], **options)
