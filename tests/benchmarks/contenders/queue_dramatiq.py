"""dramatiq, in memory (its stub for tests) and through RabbitMQ; its jobs are functions that run in threads."""

from __future__ import annotations

import contextlib
import importlib
import time
from typing import Any

from tests.benchmarks.contenders.queue_marks import Marks
from tests.benchmarks.contenders.queue_producers import enqueue_in_threads
from tests.benchmarks.contenders.queue_rabbitmq import deleted

# Imported by name, because it may be absent where types are checked.
dramatiq: Any = importlib.import_module("dramatiq")
stub: Any = importlib.import_module("dramatiq.brokers.stub")
DISTRIBUTION = "dramatiq"
THREADS = 8


def memory(jobs: int) -> dict[str, float]:
    """Measure the processor's time for jobs in memory."""
    broker = stub.StubBroker()
    actor = dramatiq.actor(_noop, broker=broker)
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=THREADS)
    started = time.process_time()
    for payload in range(jobs):
        actor.send(payload)
    worker.start()
    broker.join(actor.queue_name)
    worker.join()
    seconds = time.process_time() - started
    worker.stop()
    broker.close()
    return {"seconds": seconds}


def rabbitmq(url: str, queue: str, jobs: int, producers: int) -> dict[str, float]:
    """Measure jobs through RabbitMQ: first all are enqueued, then all are worked off."""
    marks = Marks(jobs)
    broker = _quorum_broker()(url=url, confirm_delivery=True, max_priority=None)
    broker.queue_prefetch = 2 * THREADS

    def noop(_payload: int) -> None:
        marks.note()

    with deleted(url, [queue, f"{queue}.DQ", f"{queue}.XQ"]), contextlib.closing(broker):
        actor = dramatiq.actor(noop, broker=broker, queue_name=queue)
        started = time.perf_counter()
        enqueue_in_threads(actor.send, jobs, producers)
        enqueued = time.perf_counter() - started
        worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=THREADS)
        worker.start()
        marks.wait()
        worker.join()
        worker.stop()
    return {"enqueue": enqueued, "work": marks.seconds}


def _noop(_payload: int) -> None:
    """Return at once; and nothing, because there is nowhere to keep results."""


def _quorum_broker() -> Any:
    module: Any = importlib.import_module("dramatiq.brokers.rabbitmq")

    class QuorumBroker(module.RabbitmqBroker):  # type: ignore[misc, name-defined]
        """The same, with the queues replicated and synced as those of the others are."""

        def _build_queue_arguments(self, queue_name: str) -> Any:
            return {**super()._build_queue_arguments(queue_name), "x-queue-type": "quorum"}

    return QuorumBroker
