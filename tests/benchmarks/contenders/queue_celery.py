"""celery through RabbitMQ: acknowledged when done, as the others do it; its jobs run in threads."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from tests.benchmarks.contenders.queue_marks import Marks
from tests.benchmarks.contenders.queue_producers import enqueue_in_threads
from tests.benchmarks.contenders.queue_rabbitmq import deleted

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# Imported by name, because they may be absent where types are checked.
celery: Any = importlib.import_module("celery")
kombu: Any = importlib.import_module("kombu")
DISTRIBUTION = "celery"
THREADS = 8


def rabbitmq(url: str, queue: str, jobs: int, producers: int) -> dict[str, float]:
    """Measure jobs through RabbitMQ: first all are enqueued, then all are worked off."""
    # A process for each round: a second worker in the same one does not always start, and the first not always end.
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    with deleted(url, [queue], exchanges=[queue]):
        process = spawn.Process(target=_round, args=(theirs, url, queue, jobs, producers))
        process.start()
        theirs.close()
        measures: dict[str, float] = ours.recv()
        process.join()
    return measures


def _round(answer: Connection, url: str, queue: str, jobs: int, producers: int) -> None:
    app = celery.Celery("benchmark", broker=url)
    app.conf.update(
        task_queues=[kombu.Queue(queue, durable=True, queue_arguments={"x-queue-type": "quorum"})],
        task_default_queue=queue,
        broker_transport_options={"confirm_publish": True},
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=2,
        worker_enable_remote_control=False,
        broker_pool_limit=producers,
    )
    marks = Marks(jobs)

    @app.task(name="noop")  # type: ignore[untyped-decorator]
    def noop(_payload: int) -> None:
        marks.note()

    started = time.perf_counter()
    enqueue_in_threads(lambda payload: noop.apply_async((payload,)), jobs, producers)
    enqueued = time.perf_counter() - started
    threading.Thread(target=_tell, args=(answer, marks, enqueued)).start()
    app.Worker(
        pool="threads", concurrency=THREADS, loglevel="ERROR", without_gossip=True, without_mingle=True, quiet=True
    ).start()


def _tell(answer: Connection, marks: Marks, enqueued: float) -> None:
    """Wait for the jobs, tell, and end this process with the worker in it."""
    try:
        marks.wait()
        # The last ones are still to be acknowledged.
        time.sleep(0.1)
        answer.send({"enqueue": enqueued, "work": marks.seconds})
    finally:
        os._exit(0)
