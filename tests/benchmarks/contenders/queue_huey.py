"""huey on SQLite, its commits synced to the disk as ours are; its jobs are functions that run in threads."""

from __future__ import annotations

import importlib
import tempfile
import time
from typing import Any

from tests.benchmarks.contenders.queue_marks import Marks
from tests.benchmarks.contenders.queue_producers import enqueue_in_threads

# Imported by name, because it may be absent where types are checked.
huey: Any = importlib.import_module("huey")
DISTRIBUTION = "huey"


def sqlite(jobs: int, producers: int, workers: int) -> dict[str, float]:
    """Measure jobs in a file, each of which is on the disk before its producer goes on."""
    marks = Marks(jobs)
    with tempfile.TemporaryDirectory() as folder:
        queue = huey.SqliteHuey(filename=f"{folder}/huey.db", fsync=True, timeout=60)

        def noop(payload: int) -> int:
            marks.note()
            return payload

        task = queue.task()(noop)
        consumer = queue.create_consumer(workers=workers, periodic=False, check_worker_health=False)
        started = time.perf_counter()
        enqueue_in_threads(task, jobs, producers)
        enqueued = time.perf_counter()
        consumer.start()
        marks.wait()
        ended = time.perf_counter()
        consumer.stop(graceful=True)
        queue.storage.close()
    return {"seconds": ended - started, "enqueue": enqueued - started, "work": ended - enqueued}
