"""taskiq through RabbitMQ, with its broker on aio-pika."""

from __future__ import annotations

import asyncio
import importlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.benchmarks.contenders.queue_marks import Marks
from tests.benchmarks.contenders.queue_producers import enqueue
from tests.benchmarks.contenders.queue_rabbitmq import deleted

# Imported by name, because they may be absent where types are checked.
taskiq_aio_pika: Any = importlib.import_module("taskiq_aio_pika")
receivers: Any = importlib.import_module("taskiq.receiver")
DISTRIBUTION = "taskiq-aio-pika"
SLOTS = 16


def rabbitmq(url: str, queue: str, jobs: int, producers: int) -> dict[str, float]:
    """Measure jobs through RabbitMQ: first all are enqueued, then all are worked off."""
    names = [queue, f"{queue}.dead", f"{queue}.delay"]
    with deleted(url, names, exchanges=[queue]):
        return asyncio.run(_rabbitmq(url, names, jobs, producers))


async def _rabbitmq(url: str, names: list[str], jobs: int, producers: int) -> dict[str, float]:
    main, dead, delay = (taskiq_aio_pika.Queue(name=name) for name in names)
    broker = taskiq_aio_pika.AioPikaBroker(
        url,
        qos=SLOTS,
        exchange=taskiq_aio_pika.Exchange(name=names[0]),
        task_queues=[main],
        dead_letter_queue=dead,
        delay_queue=delay,
    )
    marks = Marks(jobs)

    @broker.task(task_name="noop")
    async def noop(payload: int) -> int:
        marks.note()
        return payload

    broker.is_worker_process = True
    await broker.startup()
    started = time.perf_counter()
    await enqueue(noop.kiq, jobs, producers)
    enqueued = time.perf_counter() - started
    with ThreadPoolExecutor(1) as threads:
        receiver = receivers.Receiver(broker, executor=threads, max_async_tasks=SLOTS, run_startup=False)
        finish = asyncio.Event()
        worker = asyncio.create_task(receiver.listen(finish))
        while not marks.is_done:
            await asyncio.sleep(0.05)
        finish.set()
        await worker
    await broker.shutdown()
    return {"enqueue": enqueued, "work": marks.seconds}
