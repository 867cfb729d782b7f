"""The job queue: enqueued and worked off, in memory, in a file and through RabbitMQ."""

from __future__ import annotations

import asyncio
import tempfile
import time

from jockey import jobs
from tests.benchmarks.contenders.handlers import noop as handler
from tests.benchmarks.contenders.queue_marks import Marks
from tests.benchmarks.contenders.queue_producers import enqueue

SLOTS = 16


def memory(jobs: int, slots: int) -> dict[str, float]:
    """Measure the processor's time for jobs in memory."""
    return asyncio.run(_memory(jobs, slots))


async def _memory(count: int, slots: int) -> dict[str, float]:
    app = jobs.App("memory://")
    task = app.task(handler)
    worker = _worker(app, count, slots)
    async with app:
        started = time.process_time()
        for payload in range(count):
            await task.enqueue(payload)
        await worker.run()
        return {"seconds": time.process_time() - started}


def sqlite(jobs: int, producers: int) -> dict[str, float]:
    """Measure jobs in a file, each of which is on the disk before its producer goes on."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_sqlite(f"sqlite:///{folder}/jobs.db", jobs, producers))


async def _sqlite(url: str, count: int, producers: int) -> dict[str, float]:
    app = jobs.App(url)
    task = app.task(handler)
    worker = _worker(app, count)
    async with app:
        started = time.perf_counter()
        await enqueue(task.enqueue, count, producers)
        enqueued = time.perf_counter()
        await worker.run()
        ended = time.perf_counter()
    return {"seconds": ended - started, "enqueue": enqueued - started, "work": ended - enqueued}


def many(batches: int, batch: int) -> dict[str, float]:
    """Measure `enqueue_many`, batch after batch."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_many(f"sqlite:///{folder}/jobs.db", batches, batch))


async def _many(url: str, batches: int, batch: int) -> dict[str, float]:
    app = jobs.App(url)
    task = app.task(handler)
    async with app:
        started = time.perf_counter()
        for _ in range(batches):
            await task.enqueue_many(task.s(payload) for payload in range(batch))
        return {"seconds": time.perf_counter() - started}


def rabbitmq(url: str, queue: str, jobs: int, producers: int) -> dict[str, float]:
    """Measure jobs through RabbitMQ: first all are enqueued, then all are worked off."""
    return asyncio.run(_rabbitmq(url, queue, jobs, producers))


async def _rabbitmq(url: str, queue: str, count: int, producers: int) -> dict[str, float]:
    app = jobs.App(url)
    marks = Marks(count)

    @app.task(queue=queue)
    async def note(payload: int) -> int:
        marks.note()
        return payload

    worker = _worker(app, count)
    async with app:
        try:
            started = time.perf_counter()
            await enqueue(note.enqueue, count, producers)
            enqueued = time.perf_counter() - started
            await worker.run()
        finally:
            await app.queues.delete(queue)
    return {"enqueue": enqueued, "work": marks.seconds}


def idle(url: str, queue: str, seconds: float) -> dict[str, float]:
    """Measure how much of a core a worker uses that has nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_idle(url.replace("FOLDER", folder), queue, seconds))


async def _idle(url: str, queue: str, seconds: float) -> dict[str, float]:
    app = jobs.App(url)
    app.task(queue=queue)(handler)
    async with app:
        worker = asyncio.create_task(_worker(app, None).run())
        try:
            # Its start is over, and has cost what it costs.
            await asyncio.sleep(min(1.0, seconds))
            started, cpu = time.perf_counter(), time.process_time()
            await asyncio.sleep(seconds)
            share = (time.process_time() - cpu) / (time.perf_counter() - started)
        finally:
            worker.cancel()
            await asyncio.wait([worker])
            await app.queues.delete(queue)
    return {"share": share}


def _worker(app: jobs.App[None], limit: int | None, slots: int = SLOTS) -> jobs.Worker[None]:
    return jobs.Worker(app, max_jobs=slots, messages_limit=limit, handle_signals=())
